"""Label budgets: stratified, nested, the same for every method; and the cells that they make."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.streams import generator

Budget = Annotated[int, Field(ge=1)] | Literal["all"]


@dataclass(frozen=True)
class Cell:
    """One label budget in one repeat."""

    labels_per_class: Budget
    repeat: int

    @property
    def name(self) -> str:
        """Name of the cell's files and random streams, such as ``5-0``."""
        return f"{self.labels_per_class}-{self.repeat}"


def cells(budgets: Sequence[Budget], repeats: int) -> Iterator[Cell]:
    """Yield every cell, the smallest budget first."""
    for budget in budgets:
        for repeat in range(repeats):
            yield Cell(budget, repeat)


def label_ranks(labels: npt.NDArray[Any], repeats: int, seed: int) -> npt.NDArray[np.int32]:
    """Return each example's place in a random order of its class, (repeats, n).

    A budget of b labels per class is the examples of rank below b. Budgets are therefore
    stratified, and a smaller one lies within a larger one of the same repeat.
    """
    ranks = np.empty((repeats, len(labels)), np.int32)
    for repeat in range(repeats):
        rng = generator(seed, "labels", str(repeat))
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            ranks[repeat, members] = rng.permutation(len(members))
    return ranks


def labelled(ranks: npt.NDArray[np.int32], budget: Budget) -> npt.NDArray[np.intp]:
    """Return the rows of the examples in `budget`, given one repeat's ranks, (n,)."""
    return np.arange(len(ranks)) if budget == "all" else np.flatnonzero(ranks < budget)


def held_out(
    labels: npt.NDArray[Any],
    fraction: float,
    rng: np.random.Generator,
    keep: int = 1,
    first: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """Mark a stratified random share of the examples: at least one per class.

    Parameters
    ----------
    labels
        Class indices, (n,).
    fraction
        The share of each class to hold out, rounded.
    rng
        Draws which ones.
    keep
        So many of each class are left if the class has them beside the one held out.
    first
        Examples, (n,), that are held out before any other.
    """
    mask = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(round(fraction * len(members)), len(members) - keep)
        drawn = rng.permutation(members)
        if first is not None:
            drawn = drawn[np.argsort(~first[drawn], kind="stable")]
        mask[drawn[: max(count, 1)]] = True
    return mask


def folds(labels: npt.NDArray[Any], count: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Return the fold of each example, (n,): random, stratified, as even as can be.

    The classes take turns at being dealt first, so that the folds' sizes stay even too.
    """
    fold = np.empty(len(labels), np.int32)
    dealt = 0
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        fold[members] = (dealt + np.arange(len(members))) % count
        dealt += len(members)
    return fold
