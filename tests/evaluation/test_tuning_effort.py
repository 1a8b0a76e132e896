import pytest

from graft.core.errors import GraftError
from graft.evaluation.arms import Arm
from graft.evaluation.tuning_effort import check_tuning_effort, unequal


@pytest.mark.parametrize("sizes", [{"a": 0}, {"a": 0, "b": 0}, {"a": 4, "b": 4}], ids=str)
def test_equal_sizes_are_fair(sizes):
    assert unequal(sizes) is None


@pytest.mark.parametrize(
    ("sizes", "listed"),
    [({"a": 0, "b": 1}, "(a none, b 1)"), ({"a": 4, "b": 4, "c": 2}, "(a 4, b 4, c 2)")],
)
def test_unequal_sizes_are_named(sizes, listed):
    assert listed in unequal(sizes)


def test_arms_that_were_tuned_over_grids_of_one_size_are_compared():
    check_tuning_effort([Arm("", "scratch"), Arm("a", "full")])
    check_tuning_effort([Arm("", "scratch", None, 4), Arm("a", "full", None, 4)])


@pytest.mark.parametrize(
    ("sizes", "listed"), [((0, 4), "scratch none, a full 4"), ((4, 2), "scratch 4, a full 2")]
)
def test_arms_that_were_tuned_unequally_are_not_compared(sizes, listed):
    arms = [Arm("", "scratch", None, sizes[0]), Arm("a", "full", None, sizes[1])]
    with pytest.raises(GraftError, match=rf"tuned over grids of unequal size \({listed}\); give"):
        check_tuning_effort(arms)
