import numpy as np
import pytest
from scipy import stats

from graft.scores.paired import paired_p_value
from graft.scores.per_class import COLUMNS, class_gains, holm, winners_and_losers


def gains(method, scratch, labels, names, **settings):
    return class_gains(
        "printed", "full", 5, method, scratch, labels=labels, class_names=names, seed=1, **settings
    )


@pytest.fixture
def study():
    """Five repeats; of 100 examples a class: a is won, b is lost, c is as it was."""
    labels = np.repeat(np.arange(3), 100)
    rng = np.random.default_rng(1)
    scratch = rng.random((5, 300)) < 0.5
    chance = np.repeat([0.9, 0.1, 0.5], 100)
    return rng.random((5, 300)) < chance, scratch, labels


def test_the_columns_are_those_of_the_file(study):
    row = gains(*study, ("a", "b", "c"))[0].row()
    found = dict(zip(COLUMNS, row, strict=True))
    assert list(found)[:5] == ["source", "method", "labels_per_class", "class", "test_examples"]
    assert (found["source"], found["method"], found["labels_per_class"]) == ("printed", "full", 5)
    assert (found["class"], found["test_examples"]) == ("a", 100)


def test_every_class_has_its_recalls_and_its_paired_gain(study):
    method, scratch, labels = study
    rows = gains(*study, ("a", "b", "c"))
    assert [row.outcome for row in rows] == ["won", "lost", "unclear"]
    for place, row in enumerate(rows):
        of_class = labels == place
        assert row.target_recall == method[:, of_class].mean()
        assert row.scratch_recall == scratch[:, of_class].mean()
        assert row.gain == pytest.approx(row.target_recall - row.scratch_recall)
        assert row.gain_low < row.gain < row.gain_high


def test_a_class_does_not_depend_on_the_others(study):
    method, scratch, labels = study
    whole = gains(*study, ("a", "b", "c"))
    alone = gains(method[:, labels == 1], scratch[:, labels == 1], labels[labels == 1], "abc")
    assert (alone[0].gain_low, alone[0].gain_high) == (whole[1].gain_low, whole[1].gain_high)


def test_a_class_without_test_examples_has_no_row(study):
    assert [row.class_name for row in gains(*study, ("a", "b", "c", "d"))] == ["a", "b", "c"]


def test_a_single_test_example_has_no_interval_and_proves_nothing():
    (row,) = gains(np.ones((3, 1)), np.zeros((3, 1)), np.zeros(1, int), ("a",))
    assert (row.gain, row.gain_low, row.gain_high, row.outcome) == (1.0, None, None, "unclear")


def test_the_sentence_names_the_largest_first(study):
    method, scratch, _ = study
    rows = gains(*study, ("a", "b", "c"))
    won, lost = 100 * rows[0].gain, 100 * rows[1].gain
    assert winners_and_losers(rows, 5, 0.95) == (
        f"Of 3 classes `full` is better on `a` ({won:+.0f}) and worse on `b` ({lost:+.0f}): points "
        "of recall, 95 % sure of the whole list."
    )
    assert winners_and_losers(rows, 1, 0.95).endswith(" Another repeat may well turn them.")
    halves = gains(
        np.hstack([method[:, :100]] * 7),
        np.hstack([scratch[:, :100]] * 7),
        np.repeat(np.arange(7), 100),
        "abcdefg",
    )
    assert ", 2 more: points" in winners_and_losers(halves, 5, 0.95)


def test_where_no_class_won_or_lost_there_is_nothing_to_say(study):
    _, scratch, labels = study
    assert winners_and_losers(gains(scratch, scratch, labels, "abc"), 5, 0.95) is None


@pytest.mark.parametrize(
    ("p_values", "falls"),
    [
        ([0.01, 0.04, 0.03], [True, False, False]),
        ([0.001, 0.02, 0.025], [True, True, True]),
        ([0.02, 0.001, 0.001], [True, True, True]),
        ([0.02, 0.02, 0.02], [False, False, False]),
        ([0.05], [True]),
        ([0.051], [False]),
    ],
)
def test_holm(p_values, falls):
    assert holm(np.array(p_values), 0.05).tolist() == falls


def test_the_p_value_of_repeats_alone_is_that_of_the_t_test():
    difference = np.repeat([[0.1], [0.2], [0.6]], 1000, axis=1)
    wanted = stats.ttest_1samp([0.1, 0.2, 0.6], 0).pvalue
    # The correction for few repeats concerns the degrees of freedom, and there are 2 anyway.
    assert paired_p_value(difference, np.zeros((3, 1000))) == pytest.approx(wanted, rel=1e-3)


def test_the_p_value_of_one_repeat_is_that_of_the_paired_t_test():
    method, scratch = np.random.default_rng(0).random((2, 1, 400)) < [[[0.7]], [[0.6]]]
    wanted = stats.ttest_rel(method[0].astype(float), scratch[0].astype(float)).pvalue
    assert paired_p_value(method, scratch) == pytest.approx(wanted, rel=1e-9)


def test_a_handful_of_examples_proves_nothing_however_well_they_agree():
    assert paired_p_value(np.ones((3, 5)), np.zeros((3, 5))) == 2.0**-4
    assert paired_p_value(np.ones((3, 5)), np.ones((3, 5))) == 1.0


def test_no_class_is_called_in_at_least_95_of_100_studies_without_a_gain():
    """Ten classes of 45 test examples, three repeats; some classes vary far more than others."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 45)
    of_class = [labels == label for label in range(10)]
    spread = np.linspace(0, 0.3, 10) / np.sqrt(2)
    studies, wrong = 500, 0
    for _ in range(studies):
        chance = 0.3 + 0.4 * rng.random(450)
        shift = (spread * rng.standard_normal((2, 3, 10))).repeat(45, axis=2)
        method, scratch = rng.random((2, 3, 450)) < chance + shift
        p_values = [paired_p_value(method[:, rows], scratch[:, rows]) for rows in of_class]
        wrong += holm(np.array(p_values), 0.05).any()
    assert wrong / studies <= 0.05


def test_two_repeats_have_one_degree_of_freedom():
    difference = np.repeat([[0.2], [0.6]], 1000, axis=1)
    wanted = stats.ttest_1samp([0.2, 0.6], 0).pvalue
    assert paired_p_value(difference, np.zeros((2, 1000))) == pytest.approx(wanted, rel=1e-9)


def test_coverage_of_the_interval_of_one_class():
    """A recall of 0.8 against 0.6, 45 test examples of varying difficulty, three repeats."""
    rng = np.random.default_rng(0)
    labels, studies, covered = np.zeros(45, int), 1000, 0
    for _ in range(studies):
        difficulty = 0.3 * (rng.random(45) - 0.5)
        shift = 0.03 / np.sqrt(2) * rng.standard_normal((2, 3, 1))
        base = np.array([0.8, 0.6]).reshape(2, 1, 1)
        method, scratch = rng.random((2, 3, 45)) < base + difficulty + shift
        (row,) = gains(method, scratch, labels, ("a",), resamples=200)
        covered += row.gain_low <= 0.2 <= row.gain_high
    assert 0.93 <= covered / studies <= 0.97
