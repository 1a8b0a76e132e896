import numpy as np
import pytest

from graft.scores.comparison import COLUMNS, Comparison, compare, scratch_curve

LABELS = {1: 1.0, 10: 10.0, "all": 37.5}


def arms(accuracies, repeats=3, examples=100):
    """Return arms of exactly these accuracies, the same in every repeat."""
    order = np.arange(examples) / examples
    return {budget: np.tile(order < share, (repeats, 1)) for budget, share in accuracies.items()}


SCRATCH = arms({"all": 0.9, 1: 0.5, 10: 0.8})


def test_the_columns_are_those_of_the_file():
    assert COLUMNS == (
        "source",
        "method",
        "labels_per_class",
        "repeats",
        "target_accuracy",
        "scratch_accuracy",
        "transfer_gain",
        "transfer_gain_low",
        "transfer_gain_high",
        "verdict",
        "labels_saved",
        "labels_saved_low",
        "labels_saved_high",
    )


def test_a_row_has_the_values_in_the_order_of_the_columns():
    row = Comparison("printed", "full", 1, 3, 0.8, 0.5, 0.3, 0.2, 0.4, "helped", 4, 3, None).row()
    assert row == ("printed", "full", 1, 3, 0.8, 0.5, 0.3, 0.2, 0.4, "helped", 4, 3, None)


def test_one_comparison_a_budget_by_rising_labels():
    method = arms({"all": 0.9, 10: 0.6, 1: 0.8})
    rows = compare("printed", "full", method, SCRATCH, LABELS, seed=1)
    assert [row.labels_per_class for row in rows] == [1, 10, "all"]
    assert [row.verdict for row in rows] == ["helped", "hurt", "equivalent"]
    assert [row.target_accuracy for row in rows] == pytest.approx([0.8, 0.6, 0.9])
    assert [row.scratch_accuracy for row in rows] == pytest.approx([0.5, 0.8, 0.9])
    assert [row.transfer_gain for row in rows] == pytest.approx([0.3, -0.2, 0.0])
    assert [row.repeats for row in rows] == [3, 3, 3]
    # 0.8 at 1 label takes scratch 10; 0.6 lies a third of the way from 1 to 10 labels.
    assert [row.labels_saved for row in rows] == pytest.approx([10, 10 ** (1 / 3) / 10, 1])


def test_labels_saved_has_its_interval():
    rng = np.random.default_rng(0)
    scratch = {b: rng.random((3, 400)) < p for b, p in ((1, 0.4), (10, 0.6), ("all", 0.8))}
    method = {1: rng.random((3, 400)) < 0.6, 10: rng.random((3, 400)) < 0.8}
    first, second = compare("printed", "full", method, scratch, LABELS, seed=1)
    assert 2 < first.labels_saved_low < first.labels_saved < first.labels_saved_high < 20
    # At its upper end scratch may need more than the 37.5 labels tried.
    assert 2 < second.labels_saved_low < 3.75
    assert second.labels_saved_high is None
    again, _ = compare("printed", "full", method, scratch, LABELS, seed=1, confidence=0.5)
    assert first.labels_saved_low < again.labels_saved_low
    assert again.labels_saved_high < first.labels_saved_high


def test_what_scratch_never_reaches_saves_no_number_of_labels():
    (row,) = compare("printed", "full", arms({1: 0.95}), SCRATCH, LABELS, seed=1)
    assert row.labels_saved is None


def test_a_comparison_does_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    scratch = {budget: rng.random((3, 100)) < 0.5 for budget in (1, 10)}
    method = {budget: rng.random((3, 100)) < 0.7 for budget in (1, 10)}
    both = compare("printed", "full", method, scratch, LABELS, seed=1)
    alone = compare("printed", "full", {10: method[10]}, scratch, LABELS, seed=1)
    other = compare("printed", "full", method, scratch, LABELS, seed=2)
    assert both[1] == alone[0]
    assert both[1].transfer_gain_low != other[1].transfer_gain_low


def test_the_margin_decides_what_is_equivalent():
    method = arms({1: 0.53})
    (strict,) = compare("printed", "full", method, SCRATCH, LABELS, seed=1)
    (lenient,) = compare("printed", "full", method, SCRATCH, LABELS, seed=1, margin=0.1)
    assert (strict.verdict, lenient.verdict) == ("inconclusive", "equivalent")


def test_the_scratch_curve_rises_in_labels():
    curve = scratch_curve(SCRATCH, LABELS)
    assert curve.labels == (1.0, 10.0, 37.5)
    assert curve.accuracies == pytest.approx((0.5, 0.8, 0.9))


def test_a_budget_that_scratch_lacks():
    with pytest.raises(ValueError, match=r"budgets \[2\] of a method without scratch"):
        compare("printed", "full", arms({2: 0.5}), SCRATCH, LABELS, seed=1)


def test_a_budget_without_a_number_of_labels():
    with pytest.raises(ValueError, match=r"no number of labels per class for budgets \['all'\]"):
        compare("printed", "full", arms({1: 0.5}), SCRATCH, {1: 1.0, 10: 10.0}, seed=1)
