"""How files are broken for the property-based tests of hostile input."""

import copy

import pytest
from hypothesis import strategies as st

# What stands where something else was expected.
ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf")),
    *("", "a", "relu", "../../etc/passwd", "\x00", "\ud7ff", "é" * 50, "1e-3", "=1+1"),
    *([], {}, [[]], [{}], {"": None}, {"name": "full"}, {"class_name": "Lambda", "config": {}}),
    *([None] * 40, [1, 2, 3], {"a": {"b": {"c": [1]}}}),
)


def mutated(data, tree, most=3):
    """Return a copy of nested lists and mappings with one to `most` faults in it."""
    tree = copy.deepcopy(tree)
    for _ in range(data.draw(st.integers(1, most))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = data.draw(st.sampled_from(places))
        match data.draw(st.sampled_from(["replace", "remove", "rename", "move", "repeat"])):
            case "replace":
                holder[key] = copy.deepcopy(data.draw(st.sampled_from(ODD_VALUES)))
            case "remove":
                del holder[key]
            case "rename" if isinstance(holder, dict):
                holder[data.draw(st.sampled_from(["", "nam", "é", "a b", "a.b"]))] = holder.pop(key)
            case "repeat" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                other, place = data.draw(st.sampled_from(places))
                holder[key] = copy.deepcopy(other[place])
    return tree


def corrupted(data, content):
    """Return bytes cut off, cut out, overwritten or repeated somewhere."""
    start = data.draw(st.integers(0, len(content)))
    end = min(len(content), start + data.draw(st.integers(0, 64)))
    match data.draw(st.sampled_from(["cut off", "cut out", "overwrite", "repeat"])):
        case "cut off":
            return content[:start]
        case "cut out":
            return content[:start] + content[end:]
        case "overwrite":
            return content[:start] + data.draw(st.binary(max_size=64)) + content[end:]
        case _:
            return content[:end] + content[start:]


def _places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


@pytest.fixture(scope="session")
def mutate():
    """Put faults into a tree: `mutate(data, tree)`."""
    return mutated


@pytest.fixture(scope="session")
def corrupt():
    """Put faults into bytes: `corrupt(data, content)`."""
    return corrupted
