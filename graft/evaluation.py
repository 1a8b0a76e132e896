"""Evaluation of every cell on the target's test split, and the choice of what to export."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.errors import GraftError
from graft.core.labels import Budget
from graft.core.prepared import Split
from graft.core.settings import Settings
from graft.finetuning.finetuner import Cell
from graft.finetuning.grids import unequal
from graft.fitting.temperature import scaled
from graft.networks.base import Network, Weights
from graft.scores.comparison import Comparison
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


class EvaluateSection(Settings):
    """How the answer is worked out.

    Attributes
    ----------
    method
        Whose gain is the headline: a method's name, or the best by cross-validation.
    headline_budget
        The budget that the headline speaks of.
    margin
        Accuracy differences within it count as none.
    fail_on_hurt
        Whether the verdict `hurt` makes the stage fail, once everything is written: for use
        where a worse model must stop what follows.
    """

    method: str = "auto"
    headline_budget: Literal["smallest"] | Budget = "smallest"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    margin: float = Field(default=0.01, ge=0, lt=1)
    resamples: int = Field(default=2000, ge=100, le=1_000_000)
    fail_on_hurt: bool = False


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


def check_tuning_effort(arms: Sequence[Arm]) -> None:
    """Raise a GraftError where some arms were tuned harder than others.

    graft.params checks the same beforehand; DVC, though, runs a stage whose own parameters
    changed and looks at no others.
    """
    if message := unequal({arm.label: arm.combinations for arm in arms}):
        raise GraftError(f"the arms were tuned over {message}")


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


def choose(arms: Sequence[Arm], method: str) -> tuple[Arm, str]:
    """Return the arm that the headline speaks of, and why it.

    The best by cross-validation inside the labels of the largest budget: highest accuracy,
    then lowest log loss, then the order of params.yaml. The test split has no say. Where the
    arms were tuned, that is the estimate of what was chosen: a little too high, for each arm
    alike, as their grids have one size.

    Parameters
    ----------
    method
        A method's name, to choose among sources only, or ``auto``.
    """
    candidates = [arm for arm in arms if method in ("auto", arm.method)]
    if len(candidates) == 1:
        return candidates[0], "the only candidate"
    if any(arm.cross_validation is None for arm in candidates):
        return candidates[0], (
            "the first one listed: with fewer than 2 labels in a class, "
            "nothing can be cross-validated"
        )
    best = max(candidates, key=_merit)
    validation = best.cross_validation or {}
    tuned = ", flattered by tuning on the same folds" if validation.get("combinations") else ""
    return best, (
        f"the best of {len(candidates)} by {validation['folds']}-fold cross-validation inside "
        f"the labels of the largest budget ({100 * validation['accuracy']:.0f} % there{tuned})"
    )


def headline(comparisons: Sequence[Comparison], budget: Budget | str) -> Comparison:
    """Return the comparison at the headline's budget; ``smallest`` is the first one."""
    if budget == "smallest":
        return comparisons[0]
    return next(row for row in comparisons if row.labels_per_class == budget)


def refuse_hurt(result: Comparison) -> None:
    """Raise a GraftError where the headline's verdict is `hurt`."""
    if result.verdict == "hurt":
        raise GraftError(
            f"transfer hurt ({100 * result.transfer_gain:+.1f} points), and evaluate.fail_on_hurt "
            "is true; train from scratch, transfer another way, or set it to false"
        )


def _merit(arm: Arm) -> tuple[float, float]:
    validation = arm.cross_validation or {}
    return validation["accuracy"], -validation["log_loss"]
