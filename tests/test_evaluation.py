import dataclasses

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.core.prepared import Split
from graft.evaluation import (
    CALIBRATION_COLUMNS,
    CELL_COLUMNS,
    Arm,
    Trained,
    check_tuning_effort,
    choose,
    evaluate_arm,
    headline,
    refuse_hurt,
)
from graft.finetuning.finetuner import Cell
from graft.scores.comparison import Comparison
from graft.scores.registry import SCORES


def arm(source, method, accuracy=None, log_loss=1.0):
    if accuracy is None:
        return Arm(source, method)
    return Arm(source, method, {"accuracy": accuracy, "log_loss": log_loss, "folds": 3})


# The choice


def test_the_most_accurate_by_cross_validation_is_chosen():
    arms = [arm("a", "probe", 0.5), arm("a", "full", 0.704), arm("a", "l2_sp", 0.6)]
    chosen, reason = choose(arms, "auto")
    assert chosen is arms[1]
    assert reason == (
        "the best of 3 by 3-fold cross-validation inside the labels of the largest budget "
        "(70 % there)"
    )


def test_of_tuned_arms_it_says_that_the_figure_flatters():
    arms = [arm("a", "probe", 0.5), arm("a", "full", 0.704)]
    arms[1].cross_validation["combinations"] = 4
    assert choose(arms, "auto")[1].endswith("(70 % there, flattered by tuning on the same folds)")


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


def test_the_lower_log_loss_decides_between_equals():
    arms = [arm("a", "probe", 0.7, 0.9), arm("a", "full", 0.7, 0.8), arm("a", "l2_sp", 0.6, 0.1)]
    assert choose(arms, "auto")[0] is arms[1]


def test_the_order_of_params_decides_between_equals_in_all():
    arms = [arm("a", "probe", 0.6), arm("a", "full", 0.7), arm("b", "full", 0.7)]
    assert choose(arms, "auto")[0] is arms[1]


def test_a_named_method_is_chosen_among_its_sources():
    arms = [arm("a", "probe", 0.9), arm("a", "full", 0.6), arm("b", "full", 0.7)]
    chosen, reason = choose(arms, "full")
    assert chosen is arms[2]
    assert reason.startswith("the best of 2 by ")


def test_the_only_candidate_needs_no_cross_validation():
    arms = [arm("a", "probe"), arm("a", "full")]
    assert choose(arms, "full") == (arms[1], "the only candidate")


def test_without_cross_validation_the_first_is_chosen_and_it_says_so():
    arms = [arm("a", "probe"), arm("a", "full", 0.9)]
    chosen, reason = choose(arms, "auto")
    assert chosen is arms[0]
    assert reason == (
        "the first one listed: with fewer than 2 labels in a class, nothing can be cross-validated"
    )


def comparison(budget):
    return Comparison("a", "full", budget, 3, 0.8, 0.5, 0.3, 0.2, 0.4, "helped", None, None, None)


@pytest.mark.parametrize(
    ("budget", "place"), [("smallest", 0), (1, 0), (5, 1), ("all", 2)], ids=str
)
def test_the_headline_speaks_of_one_budget(budget, place):
    comparisons = [comparison(1), comparison(5), comparison("all")]
    assert headline(comparisons, budget) is comparisons[place]


@pytest.mark.parametrize("verdict", ["helped", "equivalent", "inconclusive"])
def test_what_did_not_hurt_is_not_refused(verdict):
    refuse_hurt(dataclasses.replace(comparison(1), verdict=verdict))


def test_what_hurt_is_refused():
    hurt = dataclasses.replace(comparison(1), verdict="hurt", transfer_gain=-0.0425)
    with pytest.raises(GraftError, match=r"^transfer hurt \(-4\.2 points\), and evaluate\.fail_on"):
        refuse_hurt(hurt)


def test_an_arm_is_called_by_source_and_method():
    assert (Arm("a", "full").label, Arm("", "scratch").label) == ("a full", "scratch")


# The test split


class Bias:
    """A network that predicts from its bias alone; NumPy and nothing else."""

    def __init__(self):
        self.values = {"head/bias": np.zeros(2), "body/bias": np.ones(1)}

    def weights(self):
        return dict(self.values)

    def assign(self, weights):
        self.values |= weights

    def probabilities(self, inputs):
        first = self.values["head/bias"][0]
        assert self.values["body/bias"][0] == 1, "what a cell did not train is as at the start"
        return np.tile([first, 1 - first], (len(inputs), 1))


@pytest.fixture
def evaluated():
    test = Split(np.zeros((4, 1, 1, 1), np.uint8), np.array([0, 0, 0, 1], np.int32))
    network = Bias()
    result = Arm("a", "full")
    trained = [
        Trained(Cell(1, 0), {"head/bias": np.array([0.25, 0])}, 30),
        Trained(Cell(1, 1), {"head/bias": np.array([0.75, 0])}, 30),
        Trained(Cell("all", 0), {"head/bias": np.array([0.8, 0])}, 40, 2.0),
    ]
    evaluate_arm(result, network, iter(trained), test)
    return result, network


def test_every_cell_has_a_row(evaluated):
    rows = [dict(zip(CELL_COLUMNS, row, strict=True)) for row in evaluated[0].rows]
    assert [(row["labels_per_class"], row["repeat"], row["steps"]) for row in rows] == [
        (1, 0, 30),
        (1, 1, 30),
        ("all", 0, 40),
    ]
    assert [row["accuracy"] for row in rows] == [0.25, 0.75, 0.75]
    assert [row["balanced_accuracy"] for row in rows] == [0.5, 0.5, 0.5]
    assert rows[0]["log_loss"] == pytest.approx(-(3 * np.log(0.25) + np.log(0.75)) / 4)
    assert {(row["source"], row["method"]) for row in rows} == {("a", "full")}


def test_a_cell_with_a_temperature_is_scored_before_and_after_scaling(evaluated):
    (row,) = [dict(zip(CALIBRATION_COLUMNS, row, strict=True)) for row in evaluated[0].calibration]
    assert (row["source"], row["method"], row["labels_per_class"], row["repeat"]) == (
        "a",
        "full",
        "all",
        0,
    )
    # 0.8 and 0.2 at temperature 2 are 2/3 and 1/3: the square root of 4 to 1 is 2 to 1.
    assert row["temperature"] == 2
    assert row["log_loss"] == pytest.approx(-(3 * np.log(0.8) + np.log(0.2)) / 4)
    assert row["log_loss_scaled"] == pytest.approx(-(3 * np.log(2 / 3) + np.log(1 / 3)) / 4)
    assert row["ece"] == pytest.approx(0.8 - 0.75)
    assert row["ece_scaled"] == pytest.approx(0.75 - 2 / 3)


def test_the_steps_are_kept_by_budget(evaluated):
    assert evaluated[0].steps == {1: 30, "all": 40}


def test_what_was_right_is_kept_by_budget_repeat_and_example(evaluated):
    correct = evaluated[0].correct
    assert {budget: rows.tolist() for budget, rows in correct.items()} == {
        1: [[False, False, False, True], [True, True, True, False]],
        "all": [[True, True, True, False]],
    }


def test_the_network_is_left_at_theta_0(evaluated):
    assert evaluated[1].values["head/bias"].tolist() == [0, 0]


def test_the_columns_are_the_cell_its_scores_and_its_steps():
    assert (*CELL_COLUMNS[:4], CELL_COLUMNS[-1]) == (
        "source",
        "method",
        "labels_per_class",
        "repeat",
        "steps",
    )
    assert CELL_COLUMNS[4:-1] == tuple(SCORES)
