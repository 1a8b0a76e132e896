"""Tuning: the values of a cell, chosen from its method's grid inside the cell's own labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.labels import Cell, labelled
from graft.core.network import Weights
from graft.finetuning.cross_validation import OutOfFold, fold_count, out_of_fold
from graft.finetuning.finetuner import Finetuner, Labelled, Tuning
from graft.finetuning.grids import Values
from graft.training.loop import DivergedError

# With two labels of a class each fold would train on a single one.
FEWEST_LABELS = 3
TOO_FEW = f"fewer than {FEWEST_LABELS} labels in the smallest class"


class Tuner:
    """Chooses the values of one cell after the other by stratified cross-validation.

    Highest accuracy wins, then lowest log loss, then the order of the grid. Each combination
    sees the same folds and the same batches, and nothing but the labels of the cell. What is
    said of the best one flatters it a little, as it was chosen by that very figure; with grids
    of one size it flatters every arm alike.

    Parameters
    ----------
    finetuner
        Of the method with the grid, fresh: its network is at theta_0.
    examples
        The target's labelled examples.
    folds
        How many at most.
    seed
        Of the whole study.
    starts
        One set of initial weights per repeat, for the control.
    """

    def __init__(
        self,
        finetuner: Finetuner,
        examples: Labelled,
        folds: int,
        *,
        seed: int,
        starts: Sequence[Weights] | None = None,
    ) -> None:
        self._examples = examples
        self._folds = folds
        self._seed = seed
        self._starts = starts
        method = finetuner.method
        self._own_values = method.own_values
        self._combinations = method.combinations
        tried = [method.with_values(values) for values in (self._own_values, *self._combinations)]
        self._own, *self._finetuners = finetuner.variants(tried)

    def __call__(self, cell: Cell) -> tuple[Finetuner, Tuning]:
        """Return what trains the cell, and how its values were chosen.

        Raises
        ------
        DivergedError
            Where training diverges with every combination.
        """
        rows = labelled(self._examples.ranks[cell.repeat], cell.labels_per_class)
        smallest = fold_count(self._examples.labels[rows], len(rows))
        if smallest < FEWEST_LABELS:
            return self._own, Tuning(self._own_values, TOO_FEW)
        results = self._results(cell, rows, min(self._folds, smallest))
        best = max(results, key=lambda index: _merit(results[index]))
        scores = [
            (results[index].accuracy, results[index].log_loss) if index in results else None
            for index in range(len(self._combinations))
        ]
        chosen, winner = self._combinations[best], results[best]
        tuning = Tuning(chosen, None, winner.folds, scores, best, winner.temperature)
        return self._finetuners[best], tuning

    def _results(self, cell: Cell, rows: npt.NDArray[np.intp], folds: int) -> dict[int, OutOfFold]:
        """Return what came of each combination, by its place in the grid, but for the diverged."""
        results = {}
        start = self._starts[cell.repeat] if self._starts else None
        for index, finetuner in enumerate(self._finetuners):
            try:
                results[index] = out_of_fold(
                    finetuner,
                    self._examples,
                    rows,
                    folds,
                    seed=self._seed,
                    names=(cell.name,),
                    start=start,
                )
            except DivergedError:
                # A rate too high for the task is what a grid is there to find out.
                if not results and finetuner is self._finetuners[-1]:
                    raise
        return results


def _merit(result: OutOfFold) -> tuple[float, float]:
    return result.accuracy, -result.log_loss


def account(grid: Sequence[Values], cells: Sequence[Mapping[str, Any]]) -> str:
    """Return in one line how the cells of an arm were tuned.

    Parameters
    ----------
    grid, cells
        As they stand in the metrics of the arm.
    """
    tuned = [cell for cell in cells if cell["tuning"]["folds"]]
    text = f"{len(tuned)} of {len(cells)} cells tuned over {len(grid)} combinations"
    if tuned:
        (best, count), *_ = Counter(cell["tuning"]["best"] for cell in tuned).most_common(1)
        values = ", ".join(f"{name} {value}" for name, value in grid[best].items())
        text += f", most often to {values} ({count} of {len(tuned)})"
    if len(tuned) < len(cells):
        standing = [cell["labels_per_class"] for cell in cells if not cell["tuning"]["folds"]]
        budgets = " and ".join(map(str, dict.fromkeys(standing)))
        noun = "label" if budgets == "1" else "labels"
        text += f"; at {budgets} {noun} per class the defaults stand ({TOO_FEW})"
    return text
