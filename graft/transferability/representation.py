"""The labelled examples as the source's network sees them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from graft.core.errors import GraftError

Result = TypeVar("Result")


class Representation:
    """Features and source-head probabilities of n examples, with what was worked out of them.

    Scores are computed again and again under permuted labels. `once` keeps what does not depend
    on the labels, so that all scores and all permutations share it.

    Attributes
    ----------
    features
        float64, (n, d).
    source_probabilities
        float64, (n, source classes), each row summing to 1; None for a source without a head.
    part
        Where it came from, if it is a subset.

    Raises
    ------
    GraftError
        If either holds NaN or infinite numbers.
    """

    def __init__(
        self,
        features: npt.NDArray[np.floating[Any]],
        source_probabilities: npt.NDArray[np.floating[Any]] | None = None,
    ) -> None:
        self.features = _finite(features, "features")
        self.source_probabilities = (
            None
            if source_probabilities is None
            else _finite(source_probabilities, "source probabilities")
        )
        self.part: Part | None = None
        self._known: dict[Callable[..., Any], Any] = {}

    def once(self, work_out: Callable[["Representation"], Result]) -> Result:
        """Return ``work_out(self)``, computed on the first call and kept."""
        if work_out not in self._known:
            self._known[work_out] = work_out(self)
        result: Result = self._known[work_out]
        return result

    def subset(self, rows: npt.NDArray[np.intp]) -> "Representation":
        """Return a representation of the examples in `rows`, which may repeat."""
        probabilities = self.source_probabilities
        taken = Representation(
            self.features[rows], None if probabilities is None else probabilities[rows]
        )
        if np.all(np.diff(rows) > 0):
            taken.part = Part(self, rows)
        return taken


@dataclass(frozen=True)
class Part:
    """Which rows of a whole a representation consists of, in the order of the whole.

    What the whole knows serves its parts: a part that lacks a few rows takes from it what they
    have added, which is far less work than to begin anew.
    """

    whole: Representation
    rows: npt.NDArray[np.intp]

    @property
    def removed(self) -> npt.NDArray[np.intp]:
        """The rows of the whole that the part lacks."""
        return np.setdiff1d(np.arange(len(self.whole.features)), self.rows, assume_unique=True)


def centred(representation: Representation) -> npt.NDArray[np.float64]:
    """Return the features less their mean over the examples, (n, d)."""
    features = representation.features
    return np.asarray(features - features.mean(axis=0))


def products(representation: Representation) -> npt.NDArray[np.float64]:
    """Return the inner products of the centred features of any two examples, (n, n)."""
    part = representation.part
    if part is None:
        values = representation.once(centred)
        return np.asarray(values @ values.T)
    # Centred at the mean of the whole: a shift of the centre is left.
    inner = part.whole.once(products)[np.ix_(part.rows, part.rows)]
    means = inner.mean(axis=0)
    inner -= means
    inner -= (means - means.mean())[:, np.newaxis]
    return np.asarray(inner)


def scatter(representation: Representation) -> npt.NDArray[np.float64]:
    """Return the sum over the examples of the centred features' outer products, (d, d)."""
    part = representation.part
    if part is None:
        values = representation.once(centred)
        return np.asarray(values.T @ values)
    of_whole = part.whole.once(centred)
    removed = of_whole[part.removed]
    shift = -removed.sum(axis=0)
    total = part.whole.once(scatter) - removed.T @ removed
    total -= np.outer(shift, shift / len(part.rows))
    return np.asarray(total)


def _finite(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.float64]:
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} of shape {array.shape}; expected one row an example")
    values = np.asarray(array, np.float64)
    if not np.isfinite(values).all():
        raise GraftError(
            f"the source's {name} of the target's examples hold NaN or infinite numbers; "
            "its training has diverged: lower train_source.learning_rate and train it again"
        )
    return values
