import math

import numpy as np
import pytest

from graft.scores.labels_saved import (
    LabelsSaved,
    ScratchCurve,
    labels_saved,
    labels_saved_interval,
    monotone,
)

CURVE = ScratchCurve(labels=(1, 2, 5, 10), accuracies=(0.5, 0.6, 0.8, 0.9))


@pytest.mark.parametrize(
    ("accuracy", "needed"),
    [
        (0.5, 1.0),
        (0.6, 2.0),
        (0.8, 5.0),
        (0.9, 10.0),
        (0.55, math.sqrt(1 * 2)),  # half way up is half way along the logarithm
        (0.7, math.sqrt(2 * 5)),
        (0.85, math.sqrt(5 * 10)),
    ],
)
def test_where_the_curve_reaches_the_accuracy(accuracy, needed):
    result = labels_saved(CURVE, accuracy, labels_used=2)
    assert result.labels_needed == pytest.approx(needed, rel=1e-12)
    assert result.ratio == pytest.approx(needed / 2, rel=1e-12)
    assert not result.at_most


def test_budgets_are_met_exactly():
    assert labels_saved(CURVE, 0.8, labels_used=1) == LabelsSaved(5.0, 5.0, at_most=False)


def test_a_curve_that_never_gets_there():
    assert labels_saved(CURVE, 0.91, labels_used=1) == LabelsSaved(None, None, at_most=False)


def test_a_curve_that_begins_above_gives_its_smallest_budget_as_a_bound():
    assert labels_saved(CURVE, 0.4, labels_used=2) == LabelsSaved(1.0, 0.5, at_most=True)


def test_a_plateau_is_reached_where_it_begins():
    curve = ScratchCurve((1, 2, 5, 10), (0.5, 0.7, 0.7, 0.9))
    assert labels_saved(curve, 0.7, labels_used=1).labels_needed == 2.0


def test_a_curve_that_falls_is_pooled():
    # 0.8 and 0.7 become 0.75 twice.
    curve = ScratchCurve((1, 2, 5, 10), (0.5, 0.8, 0.7, 0.9))
    assert labels_saved(curve, 0.75, labels_used=1).labels_needed == 2.0
    assert labels_saved(curve, 0.825, labels_used=1).labels_needed == pytest.approx(math.sqrt(50))


def test_one_budget():
    curve = ScratchCurve((4,), (0.5,))
    assert labels_saved(curve, 0.5, labels_used=4) == LabelsSaved(4.0, 1.0, at_most=False)
    assert labels_saved(curve, 0.6, labels_used=4).ratio is None


def test_the_last_digit_does_not_decide():
    curve = ScratchCurve((1, 2), (0.1, 0.3))
    assert labels_saved(curve, 0.1 + 0.2, labels_used=1).labels_needed == 2.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
        ([0.3, 0.2, 0.1], [0.2, 0.2, 0.2]),
        ([0.1, 0.4, 0.2, 0.5], [0.1, 0.3, 0.3, 0.5]),
        ([0.6, 0.2, 0.1, 0.5, 0.4], [0.3, 0.3, 0.3, 0.45, 0.45]),
        ([0.5], [0.5]),
    ],
)
def test_monotone(given, expected):
    assert monotone(np.array([given]))[0] == pytest.approx(expected)


def test_monotone_agrees_with_scikit_learn():
    from sklearn.isotonic import isotonic_regression

    rows = np.random.default_rng(0).random((50, 6))
    expected = np.stack([isotonic_regression(row) for row in rows])
    np.testing.assert_allclose(monotone(rows), expected)


@pytest.mark.parametrize(
    ("labels", "accuracies", "message"),
    [
        ((), (), "at least one"),
        ((1, 2), (0.5,), "2 budgets and 1 accuracies"),
        ((2, 1), (0.5, 0.6), "above 0 and ascending"),
        ((0, 1), (0.5, 0.6), "above 0 and ascending"),
    ],
)
def test_a_curve_that_is_none(labels, accuracies, message):
    with pytest.raises(ValueError, match=message):
        ScratchCurve(labels, accuracies)


def test_no_labels_used():
    with pytest.raises(ValueError, match="0 labels used; expected a number above 0"):
        labels_saved(CURVE, 0.5, labels_used=0)


class TestInterval:
    @staticmethod
    def arm(accuracy, repeats=3, examples=400, seed=0):
        return np.random.default_rng(seed).random((repeats, examples)) < accuracy

    def interval(self, method_accuracy, **settings):
        scratch = [self.arm(accuracy, seed=i) for i, accuracy in enumerate((0.5, 0.6, 0.8))]
        method = self.arm(method_accuracy, seed=9)
        rng = np.random.default_rng(1)
        return labels_saved_interval(scratch, (1, 2, 5), method, 1, rng, **settings)

    def test_contains_the_estimate(self):
        low, high = self.interval(0.7)
        assert 2 < low < math.sqrt(2 * 5) < high < 5

    def test_is_open_above_where_scratch_may_not_get_there(self):
        low, high = self.interval(0.8)
        assert 3 < low < 5
        assert high is None

    def test_is_open_at_both_ends_where_scratch_never_gets_there(self):
        assert self.interval(1.0) == (None, None)

    def test_depends_on_the_generator_alone(self):
        assert self.interval(0.7) == self.interval(0.7)

    def test_is_a_point_where_nothing_varies(self):
        scratch = [np.zeros((2, 10)), np.ones((2, 10))]
        rng = np.random.default_rng(1)
        method = np.ones((2, 10))
        assert labels_saved_interval(scratch, (1, 5), method, 1, rng) == (5.0, 5.0)

    def test_arms_may_differ_in_repeats(self):
        scratch = [self.arm(0.5, repeats=3), self.arm(0.9, repeats=1)]
        rng = np.random.default_rng(1)
        low, high = labels_saved_interval(scratch, (1, 5), self.arm(0.7, seed=9), 1, rng)
        assert 1 < low < high < 5

    def test_resamples_are_drawn_in_parts(self, monkeypatch):
        monkeypatch.setattr("graft.scores.labels_saved._NUMBERS_AT_ONCE", 400 * 64)
        low, high = self.interval(0.7)
        assert 2 < low < high < 5

    def test_other_test_examples(self):
        with pytest.raises(ValueError, match=r"over \[10, 20\] test examples"):
            labels_saved_interval(
                [np.ones((3, 10))], (1,), np.ones((3, 20)), 1, np.random.default_rng(0)
            )

    def test_budgets_out_of_order(self):
        arms = [np.ones((3, 10)), np.ones((3, 10))]
        with pytest.raises(ValueError, match="above 0 and ascending"):
            labels_saved_interval(arms, (5, 1), arms[0], 1, np.random.default_rng(0))


@pytest.mark.parametrize(("repeats", "spread"), [(2, 0.03), (3, 0.005), (3, 0.03), (5, 0.03)])
def test_coverage_of_labels_saved(repeats, spread):
    """The accuracies of one repeat move together and each alone, by `spread` in all.

    Draws over test examples and repeats both hold what is particular to one example in one
    repeat, so that the intervals are rather too wide where repeats hardly differ.
    """
    rng = np.random.default_rng(0)
    curve, accuracy, examples = (0.62, 0.73, 0.84, 0.9), 0.81, 300
    truth = 2 * (5 / 2) ** ((0.81 - 0.73) / (0.84 - 0.73))
    studies, covered = 250, 0
    for _ in range(studies):
        hardness = 0.1 * (rng.random(examples) - 0.5)
        together = rng.standard_normal((1, repeats, 1))
        shift = spread * (together + rng.standard_normal((5, repeats, 1))) / np.sqrt(2)
        chances = np.reshape([*curve, accuracy], (5, 1, 1)) + hardness + shift
        *scratch, method = rng.random((5, repeats, examples)) < chances
        low, high = labels_saved_interval(scratch, (1, 2, 5, 10), method, 1, rng, resamples=300)
        covered += (low or math.inf) <= truth <= (high or math.inf)
    assert 0.92 <= covered / studies <= 1
