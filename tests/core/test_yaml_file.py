import math

import pytest

from graft.core.errors import GraftError
from graft.core.yaml_file import parse


def value_of(scalar):
    return parse(f"key: {scalar}\n", "params.yaml")[0]["key"]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        # What YAML 1.1 reads as something else.
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("+1.5e+2", 150.0),
        ("no", "no"),
        ("off", "off"),
        ("y", "y"),
        ("yes", "yes"),
        ("010", 10),
        ("08", 8),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        # What both read alike.
        ("-3", -3),
        ("+5", 5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"no"', "no"),
        ("e3", "e3"),
        (".", "."),
        ("1.2.3", "1.2.3"),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says(scalar, value):
    received = value_of(scalar)
    assert received == value
    assert type(received) is type(value)


def test_not_a_number():
    assert math.isnan(value_of(".nan"))


def test_every_position_has_its_line():
    text = "# a comment\nseed: 0\n\ntarget:\n  repeats: 5\n  budgets:\n    - 1\n    - all\n"
    value, lines = parse(text, "params.yaml")
    assert value == {"seed": 0, "target": {"repeats": 5, "budgets": [1, "all"]}}
    assert lines == {
        (): 2,
        ("seed",): 2,
        ("target",): 4,
        ("target", "repeats"): 5,
        ("target", "budgets"): 6,
        ("target", "budgets", 0): 7,
        ("target", "budgets", 1): 8,
    }


def test_flow_style_has_lines_too():
    _, lines = parse("a: {b: 1,\n  c: [2,\n  3]}\n", "params.yaml")
    assert (lines["a", "b"], lines["a", "c"], lines["a", "c", 1]) == (1, 2, 3)


def test_an_empty_document_has_no_lines():
    assert parse("# nothing\n", "params.yaml") == (None, {})


def test_anchors_and_merges_are_followed():
    value, _ = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n", "params.yaml")
    assert value["b"] == {"x": 1, "y": 3}
    assert value["c"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "params.yaml:3: key 'a' stands twice; keep one"),
        ("a:\n  b: 1\n  b: 2\n", "params.yaml:3: key 'b' stands twice; keep one"),
        ("a: [{b: 1, b: 2}]\n", "params.yaml:1: key 'b' stands twice; keep one"),
        (
            "a: 1\nb: [1, 2\nc: 3\n",
            "params.yaml:3: expected ',' or ']', but got ':'; mend the YAML there",
        ),
        (
            "a: 1\n\tb: 2\n",
            "params.yaml:2: found character '\\t' that cannot start any token; mend the YAML there",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "params.yaml:2: but found another document; mend the YAML there",
        ),
        ("a: *b\n", "params.yaml:1: found undefined alias 'b'; mend the YAML there"),
        ("? [a]\n: 1\n", "params.yaml:1: found unhashable key; mend the YAML there"),
        (
            "a: !!python/object:os.system {}\n",
            "params.yaml:1: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'; mend the YAML there",
        ),
    ],
    ids=[
        "twice",
        "twice nested",
        "twice in a list",
        "unclosed list",
        "tab",
        "two documents",
        "unknown alias",
        "list as key",
        "python object",
    ],
)
def test_a_fault_is_named_with_its_line(text, message):
    with pytest.raises(GraftError) as caught:
        parse(text, "params.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: &b [*b]\n", "params.yaml:3: is nested too deeply; flatten it"),
        ("a: 1\nb: " + "[" * 5000, "params.yaml:2: is nested too deeply; flatten it"),
        (
            f"a: 1\nb: {'9' * 5000}\n",
            "params.yaml:2: found an integer of too many digits; mend the YAML there",
        ),
    ],
    ids=["holds itself", "deep", "long integer"],
)
def test_what_python_cannot_hold_is_refused(text, message):
    with pytest.raises(GraftError) as caught:
        parse(text, "params.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "line",
    ["a{0}: &a{0} [{1}]\n", "a{0}: &a{0} {{<<: [{1}], k{0}: 1}}\n"],
    ids=["aliases", "merges"],
)
def test_aliases_that_multiply_are_refused(line):
    """Ten lines that would otherwise be a thousand million values."""
    lines = [line.format(n, ", ".join([f"*a{n - 1}"] * 10) if n else "") for n in range(10)]
    with pytest.raises(GraftError, match=r"^params\.yaml:\d+: more than 100,000 values"):
        parse("".join(lines), "params.yaml")


def test_a_control_character_is_refused():
    with pytest.raises(GraftError) as caught:
        parse("a: 1\nb: \x00\n", "params.yaml")
    assert str(caught.value) == "params.yaml:2: character '\\x00' is not allowed"
