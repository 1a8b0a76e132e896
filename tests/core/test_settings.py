import pytest
from pydantic import Field, ValidationError

from graft.core.settings import Settings, expected, fault


class Oven(Settings):
    degrees: int = Field(default=180, ge=0)
    name: str = "oven"
    trays: tuple[int, ...] = ()
    share: float = 1.0


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Oven().degrees = 200


def test_lists_become_tuples():
    assert Oven(trays=[1, 2]).trays == (1, 2)


def test_an_unknown_key_is_answered_with_the_known_ones():
    with pytest.raises(ValidationError) as caught:
        Oven(degree=200)
    (error,) = caught.value.errors()
    assert error["msg"] == (
        "unknown key 'degree'; expected one of: degrees, name, share, trays "
        "(did you mean 'degrees'?)"
    )
    assert error["ctx"]["at"] == ["degree"]


@pytest.mark.parametrize(
    "given",
    [{"degrees": "180"}, {"degrees": 180.0}, {"degrees": True}, {"name": 3}, {"trays": "12"}],
    ids=str,
)
def test_a_value_of_another_type_is_not_converted(given):
    with pytest.raises(ValidationError):
        Oven(**given)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(ValidationError, match="finite number"):
        Oven(share=value)


def test_a_whole_number_is_a_float_where_one_is_wanted():
    assert Oven(share=2).share == 2.0


def test_what_is_no_mapping_is_refused():
    with pytest.raises(ValidationError):
        Oven.model_validate(["degrees"])


def test_the_nearest_name_is_suggested():
    assert (
        expected("ful", ["probe", "full"]) == "expected one of: full, probe (did you mean 'full'?)"
    )


def test_a_name_like_no_other_gets_no_suggestion():
    assert expected("xyz", ["probe", "full"]) == "expected one of: full, probe"


def test_a_fault_keeps_braces_and_says_where_it_stands():
    error = fault("received {3}", "trays", 0)
    assert error.message() == "received {3}"
    assert error.context == {"message": "received {3}", "at": ["trays", "0"]}
