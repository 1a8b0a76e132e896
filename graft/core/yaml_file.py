"""YAML 1.2 with line numbers, read by PyYAML as DVC's own parser reads it.

PyYAML follows YAML 1.1, where ``1e-3`` is a string, ``no`` is false and a key that stands
twice wins silently. DVC reads params.yaml as YAML 1.2. Reading it two ways would let the
pipeline track one value and train with another.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from graft.core.errors import GraftError

Position = tuple[str | int, ...]

_MAX_VALUES = 100_000

_CORE_SCHEMA = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
)


class _CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_int(self, node: yaml.ScalarNode) -> int:
        # YAML 1.1 reads a leading zero as octal.
        try:
            return int(self.construct_scalar(node))
        except ValueError:  # Python reads up to 4,300 digits
            raise yaml.constructor.ConstructorError(
                None, None, "found an integer of too many digits", node.start_mark
            ) from None


for _tag, _pattern, _first in _CORE_SCHEMA:
    _first_characters = [c if c != "\0" else "" for c in _first]
    _CoreLoader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first_characters)
_CoreLoader.add_constructor("tag:yaml.org,2002:int", _CoreLoader.construct_int)


def parse(text: str, name: str) -> tuple[Any, Mapping[Position, int]]:
    """Return the value of a YAML document and the line of everything in it.

    Parameters
    ----------
    text, name
        The document, and what messages call it.

    Returns
    -------
    tuple
        The value, and a mapping from positions such as ``("target", "repeats")`` to line
        numbers, counted from 1.

    Raises
    ------
    GraftError
        When it is no YAML, holds more than one document, gives a key twice, or is too large with
        its aliases written out.
    """
    lines: dict[Position, int] = {}
    loader = None
    try:
        loader = _CoreLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines
        # Before construction, which writes what is merged with `<<` into the nodes.
        _note_lines(node, (), lines, name)
        value = loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise GraftError(
            f"{name}:{line}: character {chr(error.character)!r} is not allowed"
        ) from None
    except yaml.YAMLError as error:
        raise GraftError(f"{_located(name, error)}; mend the YAML there") from None
    except RecursionError:
        line = loader.line + 1 if loader else 1
        raise GraftError(f"{name}:{line}: is nested too deeply; flatten it") from None
    return value, lines


def _note_lines(node: yaml.Node, position: Position, lines: dict[Position, int], name: str) -> None:
    lines.setdefault(position, node.start_mark.line + 1)
    # A few aliases of aliases can stand for more values than memory holds.
    if len(lines) > _MAX_VALUES:
        raise GraftError(
            f"{name}:{node.start_mark.line + 1}: more than {_MAX_VALUES:,} values, aliases written "
            "out; leave some out"
        )
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                raise GraftError(f"{name}:{line}: key {key.value!r} stands twice; keep one")
            seen.add(key.value)
            lines[*position, key.value] = line
            _note_lines(value, (*position, key.value), lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*position, index), lines, name)


def _located(name: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"{name}:{mark.line + 1}: {problem}" if mark else f"{name}: {problem}"
