import math
import subprocess
import sys

import numpy as np
import pytest

from graft.scores.accuracy import accuracy, correct
from graft.scores.balanced_accuracy import balanced_accuracy
from graft.scores.calibration import expected_calibration_error
from graft.scores.log_loss import log_loss
from graft.scores.macro_f1 import macro_f1
from graft.scores.registry import SCORES, score_cell

# Predictions: 0, 1, 1, 0.
PROBABILITIES = np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.7, 0.3]])
LABELS = np.array([0, 0, 1, 0])


def test_the_registry_has_the_columns_of_the_cells_in_order():
    assert list(SCORES) == ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece"]


def test_a_cell_has_every_score():
    scores = score_cell(PROBABILITIES, LABELS)
    assert list(scores) == list(SCORES)
    assert all(type(value) is float for value in scores.values())
    assert scores["accuracy"] == 0.75


def test_importing_the_scores_imports_neither_sklearn_nor_scipy_nor_tensorflow():
    code = (
        "import sys, graft.scores, graft.scores.answer\n"
        "print({'sklearn', 'scipy', 'tensorflow'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_correct_by_example():
    assert correct(PROBABILITIES, LABELS).tolist() == [True, False, True, True]


def test_of_equal_probabilities_the_first_class_counts():
    assert accuracy(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([0, 1])) == 0.5


def test_accuracy():
    assert accuracy(PROBABILITIES, LABELS) == 0.75


def test_balanced_accuracy_is_the_mean_recall():
    assert balanced_accuracy(PROBABILITIES, LABELS) == pytest.approx((2 / 3 + 1) / 2)


def test_macro_f1_is_the_mean_f1():
    # Class 0: precision 1, recall 2/3. Class 1: precision 1/2, recall 1.
    assert macro_f1(PROBABILITIES, LABELS) == pytest.approx((0.8 + 2 / 3) / 2)


def test_log_loss_is_the_mean_negative_log_probability():
    expected = -(math.log(0.8) + math.log(0.4) + math.log(0.9) + math.log(0.7)) / 4
    assert log_loss(PROBABILITIES, LABELS) == pytest.approx(expected)


def test_log_loss_of_certainty_in_the_wrong_class_is_large_but_finite():
    assert 36 < log_loss(np.array([[1.0, 0.0]]), np.array([1])) < 37


def test_log_loss_of_single_precision_does_not_warn():
    logits = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = log_loss(probabilities * np.float32(1 + 1e-6), np.arange(50) % 10)
    assert loss == pytest.approx(-np.log(probabilities[range(50), np.arange(50) % 10]).mean())


def test_ece_is_the_weighted_gap_between_confidence_and_accuracy():
    # 0.8 and 0.6 fall into bins of their own (gaps 0.2 and 0.6), 0.9 and 0.7 as well (0.1, 0.3).
    assert expected_calibration_error(PROBABILITIES, LABELS) == pytest.approx(1.2 / 4)


def test_ece_averages_within_a_bin():
    # Four examples of confidence 0.75, three of them correct: calibrated.
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert expected_calibration_error(probabilities, LABELS) == 0.0


def test_ece_bins_are_closed_above():
    # 0.5 belongs to (0, 0.5] and 0.75 to (0.5, 1]: the gaps +0.5 and -0.75 do not cancel.
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25]])
    assert expected_calibration_error(probabilities, np.array([0, 1]), bins=2) == 0.625


def test_perfect_predictions():
    scores = score_cell(np.eye(3), np.arange(3))
    assert list(scores.values()) == pytest.approx([1, 1, 1, 0, 0])


class TestAClassThatIsAbsent:
    def test_from_the_predictions_counts_as_zero(self):
        probabilities = np.array([[0.9, 0.1], [0.9, 0.1]])
        labels = np.array([0, 1])
        assert balanced_accuracy(probabilities, labels) == 0.5
        assert macro_f1(probabilities, labels) == pytest.approx((2 / 3 + 0) / 2)

    def test_from_the_labels_is_left_out(self):
        # The third class is predicted once and never true.
        probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
        labels = np.array([0, 1, 1])
        assert balanced_accuracy(probabilities, labels) == 0.75
        assert macro_f1(probabilities, labels) == pytest.approx((1 + 2 / 3) / 2)
        assert log_loss(probabilities, labels) == pytest.approx(
            -(2 * math.log(0.8) + math.log(0.1)) / 3
        )


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.array([0.5, 0.5]), np.array([0, 1]), r"expected \(n, classes\)"),
        (np.empty((0, 2)), np.empty(0, int), r"expected \(n, classes\)"),
        (PROBABILITIES, LABELS[:3], "one label a row"),
        (PROBABILITIES, LABELS.astype(float), "whole numbers"),
        (PROBABILITIES, np.array([0, 0, 2, 0]), "labels from 0 to 2; expected 0 to 1"),
        (PROBABILITIES, np.array([0, 0, -1, 0]), "labels from -1 to 0; expected 0 to 1"),
        (PROBABILITIES * 3, LABELS, "no probabilities"),
        (np.array([[1.5, -0.5]]), np.array([0]), "no probabilities"),
        (np.array([[np.nan, 0.5]]), np.array([0]), "no probabilities"),
    ],
)
def test_bad_input(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        score_cell(probabilities, labels)
