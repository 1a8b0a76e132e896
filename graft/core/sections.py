"""Reading of params.yaml, whole or the sections that a stage declares."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from graft.core.errors import GraftError
from graft.core.settings import Settings, expected
from graft.core.yaml_file import Position, parse

Sections = TypeVar("Sections", bound=Settings)


class Part(Settings):
    """Some keys of a section; `read_declared` looks at no other."""


def read_whole(path: Path, kind: type[Sections]) -> Sections:
    """Read every section of a params.yaml; a section that `kind` does not know is an error.

    Raises
    ------
    GraftError
        Naming every fault with its line.
    """
    value, lines = _parsed(path)
    return _validated(value, lines, path, kind)


def read_declared(path: Path, kind: type[Sections]) -> Sections:
    """Read the sections that `kind` has, of a `Part` its keys, and look at no other.

    A stage that reads what it declares in dvc.yaml, and that alone, needs neither the other
    parameters nor the code that understands them.
    """
    value, lines = _parsed(path)
    return _validated(_declared(value, kind), lines, path, kind)


def _declared(value: Mapping[str, Any], kind: type[Settings]) -> dict[str, Any]:
    declared = {key: section for key, section in value.items() if key in kind.model_fields}
    for key, section in declared.items():
        inner = kind.model_fields[key].annotation
        if isinstance(section, dict) and isinstance(inner, type) and issubclass(inner, Part):
            declared[key] = _declared(section, inner)
    return declared


def _parsed(path: Path) -> tuple[dict[str, Any], Mapping[Position, int]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise GraftError(f"{path} is missing; run in a graft project, or name the file") from None
    except OSError as error:
        raise GraftError(f"{path} cannot be read as UTF-8 text: {error}") from None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GraftError(f"{path}:{line}: cannot be read as UTF-8 text: {error}") from None
    value, lines = parse(text, str(path))
    if not isinstance(value, dict):
        line = lines.get((), 1)
        received = type(value).__name__
        raise GraftError(f"{path}:{line}: received {received}; expected a mapping of sections")
    return value, lines


def _validated(
    value: dict[str, Any], lines: Mapping[Position, int], path: Path, kind: type[Sections]
) -> Sections:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise GraftError("\n".join(_faults(error, lines, path))) from None


def _faults(error: ValidationError, lines: Mapping[Position, int], path: Path) -> list[str]:
    """Return each fault as ``params.yaml:LINE: where: what``.

    pydantic says of a value that fits no member of a union why it is not the first, why it is
    not the second, and so on: these become one.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    details: list[dict[str, Any]] = [dict(detail) for detail in error.errors(include_url=False)]
    for detail in details:
        if detail["type"] == "too_short" and detail["input"]:
            # pydantic does not count the members that are wrong themselves: named already.
            continue
        position = _deepest((), detail["loc"], lines)
        at = _deepest(position, detail.get("ctx", {}).get("at", ()), lines)
        where = ".".join(map(str, position)) + ": " if position else ""
        what, received = _what(detail)
        key = (f"{path}:{lines.get(at, 1)}: {where}", received, "" if received else what)
        found.setdefault(key, []).append(what)
    return [
        f"{place}{' or '.join(whats)}{received}" for (place, received, _), whats in found.items()
    ]


def _deepest(
    start: Position, steps: Iterable[str | int], lines: Mapping[Position, int]
) -> Position:
    """Return the position that `steps` lead to from `start`, leaving out what is no key."""
    position = start
    for step in steps:
        # pydantic puts the names of union members in between; they are no keys of the file.
        if (*position, step) in lines:
            position = (*position, step)
    return position


def _what(detail: dict[str, Any]) -> tuple[str, str]:
    """Return what is wrong and, where that does not say it, what was received."""
    context = detail.get("ctx", {})
    message = str(detail["msg"])
    match detail["type"]:
        case "fault":
            return message, ""
        case "value_error":
            return str(context["error"]), ""
        case "union_tag_invalid":
            names = [name.strip(" '") for name in context["expected_tags"].split(",")]
            return f"unknown name {context['tag']!r}; {expected(context['tag'], names)}", ""
        case "union_tag_not_found":
            return "expected a mapping with the key 'name'", ""
        case "missing":
            return f"{detail['loc'][-1]!r} is missing; it has no default", ""
        case "model_type" | "model_attributes_type" | "dict_type":
            message = "expected a mapping"
        case "tuple_type":
            message = "expected a list"
        case "too_short":
            message = "expected at least one"
        case "string_pattern_mismatch":
            message = "expected letters, digits and underscores, a letter first"
    received = repr(detail["input"])
    received = received if len(received) <= 60 else received[:57] + "..."
    return f"{message[0].lower()}{message[1:]}", f"; received {received}"
