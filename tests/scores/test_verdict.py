import pytest

from graft.scores.verdict import verdict


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.01, 0.01, "equivalent"),
        (0.002, 0.008, "equivalent"),  # sure of its sign, but of no matter
        (0.0, 0.0, "equivalent"),
        (0.002, 0.011, "helped"),
        (0.05, 0.09, "helped"),
        (-0.011, -0.002, "hurt"),
        (-0.09, -0.05, "hurt"),
        (-0.011, 0.01, "inconclusive"),
        (-0.05, 0.09, "inconclusive"),
        (0.0, 0.05, "inconclusive"),
        (-0.05, 0.0, "inconclusive"),
    ],
)
def test_the_first_that_applies(low, high, expected):
    assert verdict(low, high, margin=0.01) == expected


def test_without_a_margin_only_a_point_at_zero_is_equivalent():
    assert verdict(0.0, 0.0, margin=0.0) == "equivalent"
    assert verdict(0.0, 0.001, margin=0.0) == "inconclusive"


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.0), (float("nan"), 0.1)])
def test_an_interval_that_is_none(low, high):
    with pytest.raises(ValueError, match="expected low <= high"):
        verdict(low, high, margin=0.01)


def test_a_negative_margin():
    with pytest.raises(ValueError, match="expected 0 or more"):
        verdict(0.0, 0.1, margin=-0.01)
