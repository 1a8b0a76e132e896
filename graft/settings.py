"""The base of everything that params.yaml can say."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


class Settings(BaseModel):
    """A frozen, strictly typed group of parameters that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    message = f"unknown key {key!r}; " + expected(str(key), cls.model_fields)
                    raise PydanticCustomError("unknown_key", "{message}", _context(message, key))
        return given


def expected(received: str, choices: Iterable[str]) -> str:
    """Return the part of an error message that lists what would have been right.

    Parameters
    ----------
    received
        The wrong name; the choice nearest to it is suggested.
    choices
        The names that are right.
    """
    names = sorted(choices)
    nearest = difflib.get_close_matches(received, names, n=1)
    suggestion = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return f"expected one of: {', '.join(names)}{suggestion}"


def _context(message: str, key: object) -> dict[str, Any]:
    return {"message": message, "key": str(key)}
