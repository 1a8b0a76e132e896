"""Stratified cross-validation inside the labels of one cell."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.labels import Budget, folds, labelled
from graft.core.network import Weights
from graft.core.streams import generator
from graft.finetuning.finetuner import Finetuner, Labelled
from graft.fitting.temperature import fit_temperature, log_probabilities


@dataclass(frozen=True)
class OutOfFold:
    """What is said of each label by a network that has not seen it.

    Attributes
    ----------
    folds
        In how many parts the labels were held out.
    probabilities
        (n, classes).
    labels
        Class indices, (n,).
    """

    folds: int
    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.integer[Any]]

    @property
    def accuracy(self) -> float:
        """Share of the labels that were told right."""
        return float(np.mean(self.probabilities.argmax(axis=1) == self.labels))

    @property
    def log_loss(self) -> float:
        """Mean negative log-probability of the labels, in nats."""
        likelihood = self.probabilities[np.arange(len(self.labels)), self.labels]
        return float(-np.mean(np.log(np.clip(likelihood, 1e-15, 1))))

    @property
    def temperature(self) -> float | None:
        """The temperature that suits these probabilities; None where all of them are right.

        Without an error to learn from, the log loss falls without end as the temperature does.
        """
        if self.accuracy == 1:
            return None
        return fit_temperature(log_probabilities(self.probabilities), self.labels)


def out_of_fold(
    finetuner: Finetuner,
    examples: Labelled,
    rows: npt.NDArray[np.intp],
    count: int,
    *,
    seed: int,
    names: tuple[str, ...] = (),
    start: Weights | None = None,
) -> OutOfFold:
    """Train on all folds but one, for each of them, and predict that one.

    Parameters
    ----------
    rows
        The examples of one cell; nothing beyond them is read.
    count
        In how many folds, at most as many as the smallest class has labels.
    names
        Of the random streams, besides those of the folds: methods that are compared share them.
    start
        Weights to begin with instead of theta_0: those of the control.
    """
    labels = examples.labels[rows]
    fold = folds(labels, count, generator(seed, "folds", *names))
    probabilities = np.empty((len(rows), finetuner.network.num_classes))
    for number in range(count):
        rng = generator(seed, "order", f"fold {number}", *names)
        held = fold == number
        probabilities[held] = examples.held_out(finetuner, rows[~held], rows[held], rng, start)
    return OutOfFold(count, probabilities, labels)


def fold_count(labels: npt.NDArray[np.integer[Any]], wanted: int) -> int:
    """Return in how many folds to cut the labels: no more than the smallest class has."""
    return min(wanted, int(np.bincount(labels).min()))


def cross_validate(
    finetuner: Finetuner,
    examples: Labelled,
    budget: Budget,
    wanted: int,
    *,
    seed: int,
    start: Weights | None = None,
) -> OutOfFold | None:
    """Cross-validate inside one label budget's first repeat, whose model is exported.

    Returns
    -------
    OutOfFold or None
        None where a class has fewer than two labels or no folds are `wanted`.
    """
    rows = labelled(examples.ranks[0], budget)
    count = fold_count(examples.labels[rows], wanted)
    if count < 2:
        return None
    return out_of_fold(finetuner, examples, rows, count, seed=seed, start=start)
