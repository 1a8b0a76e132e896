"""The base of everything that params.yaml can say."""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

# A hyphen in a name can make two of DVC's matrix names collide, and DVC then drops a stage.
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class Settings(BaseModel):
    """A frozen, strictly typed group of parameters that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, given: Any) -> Any:
        """Name the keys that would have been right, and read lists as tuples."""
        if not isinstance(given, dict):
            return given
        for key in given:
            if key not in cls.model_fields:
                raise fault(f"unknown key {key!r}; {expected(str(key), cls.model_fields)}", key)
        # A frozen object holds tuples, and strict validation would refuse the lists of YAML.
        return {key: _tuples(value) for key, value in given.items()}


def fault(message: str, *at: object) -> PydanticCustomError:
    """Return the error to raise in a validator for what stands at `at`, below its object."""
    return PydanticCustomError("fault", "{message}", {"message": message, "at": list(map(str, at))})


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


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
