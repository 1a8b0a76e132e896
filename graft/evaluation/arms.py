"""Evaluation of every cell on the target's test split."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.artifacts import load_arrays
from graft.core.labels import Budget, Cell
from graft.core.network import Network, Weights
from graft.core.prepared import Split
from graft.fitting.temperature import scaled
from graft.scores.registry import score_cell

CELL_COLUMNS = (
    "source",
    "method",
    "labels_per_class",
    "repeat",
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "ece",
    "steps",
)

CALIBRATION_COLUMNS = (
    "source",
    "method",
    "labels_per_class",
    "repeat",
    "temperature",
    "log_loss",
    "log_loss_scaled",
    "ece",
    "ece_scaled",
)


@dataclass
class Arm:
    """One source and method, or the control with an empty source, with all its cells.

    Attributes
    ----------
    combinations
        Size of the grid that its cells were tuned over; 0 without one.
    correct
        By budget, (repeats, test examples): whether the prediction was right.
    steps
        By budget: of gradient descent, in each cell.
    rows
        One row of cells.csv per cell.
    calibration
        One row of calibration.csv per cell that has a temperature.
    """

    source: str
    method: str
    cross_validation: Mapping[str, Any] | None = None
    combinations: int = 0
    correct: dict[Budget, npt.NDArray[np.bool_]] = field(default_factory=dict)
    steps: dict[Budget, int] = field(default_factory=dict)
    rows: list[tuple[object, ...]] = field(default_factory=list)
    calibration: list[tuple[object, ...]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What plots and tables call it."""
        return f"{self.source} {self.method}".strip()


@dataclass(frozen=True)
class Trained:
    """What fine-tuning left of one cell.

    Attributes
    ----------
    weights
        The tensors that it trained.
    steps
        Of gradient descent.
    temperature
        Fitted inside the cell's labels; None where there were too few.
    """

    cell: Cell
    weights: Weights
    steps: int
    temperature: float | None = None


def read_weights(models: Path, cell: Cell) -> Weights:
    """Read the tensors that fine-tuning changed in one cell."""
    return load_arrays(models / f"{cell.name}.npz")


def evaluate_arm(
    arm: Arm,
    network: Network,
    trained: Iterator[Trained],
    test: Split,
) -> None:
    """Predict the test split with every cell of `arm` and note what it scored.

    Parameters
    ----------
    network
        The network at theta_0; each cell changes what its method trained.
    """
    initial = network.weights()
    correct: dict[Budget, list[npt.NDArray[np.bool_]]] = {}
    labels = np.asarray(test.labels)
    for each in trained:
        cell = each.cell
        network.assign({**initial, **each.weights})
        probabilities = network.probabilities(test.inputs)
        scores = score_cell(probabilities, labels)
        key = (arm.source, arm.method, cell.labels_per_class, cell.repeat)
        arm.rows.append((*key, *scores.values(), each.steps))
        arm.steps[cell.labels_per_class] = each.steps
        if each.temperature is not None:
            after = score_cell(scaled(probabilities, each.temperature), labels)
            pairs = [value[name] for name in ("log_loss", "ece") for value in (scores, after)]
            arm.calibration.append((*key, each.temperature, *pairs))
        right = probabilities.argmax(axis=1) == labels
        correct.setdefault(cell.labels_per_class, []).append(right)
    network.assign(initial)
    arm.correct = {budget: np.stack(rows) for budget, rows in correct.items()}
