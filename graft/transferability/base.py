"""What every transferability score is to the rest of graft."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from graft.transferability.representation import Representation

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Score:
    """A score, and what it needs to mean something. Of two values the higher is the better.

    Attributes
    ----------
    compute
        From a representation of n examples and their n labels, of two classes or more, to the
        value. What does not depend on the labels goes through `Representation.once`.
    needs_head
        Whether it reads the source head's probabilities.
    examples_per_class
        The fewest that each class must have.
    needs_more_examples_than_features
        Whether it says the same of any labels otherwise.
    bounds
        No value lies beyond them, whatever the number of classes.
    """

    compute: Callable[[Representation, Labels], float]
    needs_head: bool = False
    examples_per_class: int = 1
    needs_more_examples_than_features: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def obstacle(self, representation: Representation, labels: Labels) -> str | None:
        """Return why the score cannot be had of these examples, or None if it can."""
        if self.needs_head and representation.source_probabilities is None:
            return "the source has no head whose probabilities could be read"
        fewest = int(np.unique(labels, return_counts=True)[1].min())
        if fewest < self.examples_per_class:
            return f"needs {self.examples_per_class} labels of each class, received {fewest}"
        n, d = representation.features.shape
        if self.needs_more_examples_than_features and n <= d + 1:
            return f"{n} examples of {d} features: it needs more examples to tell labels apart"
        return None


def indicators(labels: Labels) -> Floats:
    """Return the one-hot labels, (n, classes), of the classes that occur."""
    return np.asarray(labels[:, np.newaxis] == np.unique(labels), np.float64)
