import json

import numpy as np
import pytest

from graft.core.artifacts import save_array
from graft.core.labels import Cell
from graft.core.prepared import Card
from graft.evaluation.arms import read_weights
from graft.finetuning.cross_validation import OutOfFold
from graft.finetuning.finetuner import Finetuned, Tuning
from graft.finetuning.study import read_labelled, write_study


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


class Record:
    """What tracking would have recorded."""

    def __init__(self):
        self.noted = {}
        self.cells = []

    def metrics(self, values):
        self.noted |= values

    def curve(self, name, points):
        self.noted[name] = points

    def cell(self, cell, metrics, curves, chosen):
        self.cells.append((cell, metrics, curves, chosen))


def card(budgets=(1, "all"), repeats=2):
    return Card("image", ("a", "b"), (1, 1, 1), {}, budgets, repeats)


def results():
    for number, (budget, repeat) in enumerate([(1, 0), (1, 1), ("all", 0), ("all", 1)]):
        weights = {"head/bias": np.full(2, number, np.float32)}
        curve = [(25, float(number)), (30, number + 0.5)]
        yield Cell(budget, repeat), Finetuned(weights, 30, curve), 0.25 * number


# Always sure of 90 %, and right in three of four.
HELD = OutOfFold(2, np.where(np.eye(2)[[0, 0, 1, 1]], 0.9, 0.1), np.array([0, 0, 1, 0]))
ESTIMATE = {
    "labels_per_class": "all",
    "folds": 2,
    "accuracy": 0.75,
    "log_loss": pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4),
}


@pytest.fixture
def study(tmp_path):
    """Write a study of four cells; return its folder and what was recorded."""
    record = Record()
    write_study(
        results(),
        card(),
        tmp_path / "models" / "full",
        tmp_path / "full.json",
        tmp_path / "full.csv",
        record,
        arm={"source": "a", "method": "full"},
        cross_validation=lambda: HELD,
    )
    return tmp_path, record


def test_a_study_is_weights_metrics_and_curves(study):
    folder, _ = study
    assert files(folder) == [
        "full.csv",
        "full.json",
        *(f"models/full/{name}.npz" for name in ("1-0", "1-1", "all-0", "all-1")),
    ]


def test_the_weights_of_every_cell_are_read_back(study):
    folder, _ = study
    for number, (cell, *_) in enumerate(results()):
        weights = read_weights(folder / "models" / "full", cell)
        assert {path: value.tolist() for path, value in weights.items()} == {
            "head/bias": [number, number]
        }


def test_the_metrics_have_a_row_per_cell(study):
    folder, _ = study
    metrics = json.loads((folder / "full.json").read_text())
    assert list(metrics) == ["source", "method", "cross_validation", "cells"]
    assert metrics["cross_validation"] == ESTIMATE
    assert metrics["cells"][2] == {
        "labels_per_class": "all",
        "repeat": 0,
        "steps": 30,
        "objective": 2.5,
        "train_accuracy": 0.5,
        "temperature": pytest.approx(2, rel=1e-4),
    }


def test_only_the_cell_that_was_cross_validated_has_a_temperature(study):
    folder, _ = study
    rows = json.loads((folder / "full.json").read_text())["cells"]
    assert [row["temperature"] is None for row in rows] == [True, True, False, True]


def test_the_curve_of_a_budget_is_the_mean_over_its_repeats(study):
    folder, record = study
    assert (folder / "full.csv").read_text() == (
        "labels_per_class,step,objective\n1,25,0.5\n1,30,1.0\nall,25,2.5\nall,30,3.0\n"
    )
    assert record.noted == {
        "cross_validation": ESTIMATE,
        "objective/1_labels": [(25, 0.5), (30, 1.0)],
        "objective/all_labels": [(25, 2.5), (30, 3.0)],
    }


def test_every_cell_is_recorded_with_its_curve(study):
    _, record = study
    assert len(record.cells) == 4
    assert record.cells[1] == (
        {"source": "a", "method": "full", "labels_per_class": 1, "repeat": 1},
        {"train_accuracy": 0.25, "steps": 30},
        {"objective": [(25, 1.0), (30, 1.5)]},
        None,
    )


def test_a_probe_has_no_objective_and_an_empty_curve(tmp_path):
    solved = [(Cell(1, 0), Finetuned({"head/bias": np.ones(2)}, 0, []), 1.0)]
    paths = (tmp_path / "models", tmp_path / "probe.json", tmp_path / "probe.csv")
    write_study(
        solved,
        card((1,), 1),
        *paths,
        Record(),
        arm={"method": "probe"},
        cross_validation=lambda: None,
    )
    metrics = json.loads(paths[1].read_text())
    assert metrics["cross_validation"] is metrics["cells"][0]["temperature"] is None
    assert (metrics["cells"][0]["objective"], metrics["cells"][0]["steps"]) == (None, 0)
    assert paths[2].read_text() == "labels_per_class,step,objective\n"


# A study of a method with a grid

GRID = ({"c": 1.0}, {"c": 2.0})
TOO_FEW = Tuning({"c": 9.0}, "too few")
CHOSEN = Tuning({"c": 2.0}, None, 3, [None, (0.75, 0.5)], 1, 1.5)


def write_tuned(folder, *tunings):
    """Write a study of one cell per budget; return its metrics."""
    budgets = tuple(range(1, len(tunings) + 1))
    tuned = [
        (Cell(budget, 0), Finetuned({"head/bias": np.ones(2)}, 0, [], tuning), 1.0)
        for budget, tuning in zip(budgets, tunings, strict=True)
    ]
    written = write_study(
        tuned,
        card(budgets, 1),
        *(folder / name for name in ("models", "probe.json", "probe.csv")),
        Record(),
        arm={"method": "probe"},
        cross_validation=lambda: HELD,
        grid=GRID,
    )
    metrics = json.loads((folder / "probe.json").read_text())
    assert written["cells"] == metrics["cells"]
    return metrics


def test_what_was_chosen_and_why_stands_with_the_cell(tmp_path):
    metrics = write_tuned(tmp_path, TOO_FEW, CHOSEN)
    assert metrics["grid"] == list(GRID)
    keys = ("temperature", "chosen", "tuning")
    assert [[row[key] for key in keys] for row in metrics["cells"]] == [
        [None, {"c": 9.0}, {"folds": 0, "reason": "too few"}],
        [
            1.5,
            {"c": 2.0},
            {"folds": 3, "best": 1, "scores": [None, {"accuracy": 0.75, "log_loss": 0.5}]},
        ],
    ]


def test_the_estimate_of_a_tuned_cell_is_that_of_what_was_chosen(tmp_path):
    assert write_tuned(tmp_path, TOO_FEW, CHOSEN)["cross_validation"] == {
        "labels_per_class": 2,
        "folds": 3,
        "accuracy": 0.75,
        "log_loss": 0.5,
        "combinations": 2,
    }


def test_where_the_largest_budget_is_too_small_the_own_values_are_cross_validated(tmp_path):
    metrics = write_tuned(tmp_path, TOO_FEW, TOO_FEW)
    assert metrics["cross_validation"] == {**ESTIMATE, "labels_per_class": 2}
    assert metrics["cells"][1]["temperature"] == pytest.approx(2, rel=1e-4)


def test_a_study_that_fails_leaves_the_old_one(tmp_path):
    (tmp_path / "models").mkdir()
    for name in ("models/old.npz", "full.json", "full.csv"):
        (tmp_path / name).touch()

    def failing():
        yield next(results())
        raise MemoryError

    with pytest.raises(MemoryError):
        write_study(
            failing(),
            card(),
            *(tmp_path / name for name in ("models", "full.json", "full.csv")),
            Record(),
            arm={"method": "full"},
            cross_validation=lambda: None,
        )
    assert files(tmp_path) == ["full.csv", "full.json", "models/old.npz"]


def test_labelled_examples_are_read_with_their_ranks_and_features(tmp_path):
    arrays = {
        "inputs": np.zeros((3, 2, 2, 1), np.uint8),
        "labels": np.array([0, 1, 0], np.int32),
        "label_ranks": np.zeros((2, 3), np.int32),
        "features": np.ones((3, 5), np.float32),
    }
    for name, array in arrays.items():
        save_array(tmp_path / f"{name}.npy", array)
    read = read_labelled(tmp_path, tmp_path / "features.npy")
    assert np.array_equal(read.inputs, arrays["inputs"])
    assert np.array_equal(read.labels, arrays["labels"])
    assert np.array_equal(read.ranks, arrays["label_ranks"])
    assert np.array_equal(read.features, arrays["features"])
    assert read_labelled(tmp_path).features is None
