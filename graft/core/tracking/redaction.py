"""What must not be on record: the values of parameters whose names speak of secrets."""

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "***"
_WORDS = (
    r"(?:^|[._\-])(?:password|passwd|passphrase|pwd|secrets?|tokens?|credentials?|auth"
    r"|(?:api|access|private|secret|account)[._\-]?keys?|apikeys?)(?:$|[._\-])"
)
_SECRET_NAME = re.compile(_WORDS, re.IGNORECASE)
_USER_IN_URL = re.compile(r"//[^/@\s]*@")


def redacted(value: Any, name: str = "") -> Any:
    """Return a parameter, or a mapping of them, without its secrets.

    A value below a name such as ``password``, ``api_key`` or ``hub.token`` becomes ``***``, and
    so does the user with the password in a URL, under any name.
    """
    if _SECRET_NAME.search(name) and value is not None:
        return REDACTED
    if isinstance(value, Mapping):
        return {key: redacted(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(part) for part in value]
    return without_user(value) if isinstance(value, str) else value


def redacted_command(arguments: list[str]) -> str:
    """Return a command line without the secrets among its ``name=value`` arguments."""
    shown = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        shown.append(f"{name}{equals}{redacted(value, name)}" if equals else without_user(argument))
    return " ".join(shown)


def without_user(text: str) -> str:
    """Return `text` without the user and password that URLs in it hold."""
    return _USER_IN_URL.sub(f"//{REDACTED}@", text)
