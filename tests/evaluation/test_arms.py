import numpy as np
import pytest

from graft.core.labels import Cell
from graft.core.prepared import Split
from graft.evaluation.arms import CALIBRATION_COLUMNS, CELL_COLUMNS, Arm, Trained, evaluate_arm
from graft.scores.registry import SCORES


def test_an_arm_is_called_by_source_and_method():
    assert (Arm("a", "full").label, Arm("", "scratch").label) == ("a full", "scratch")


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
