"""The nearest neighbour's label, the plainest baseline.

Puigcerver et al. (2021), "Scalable Transfer Learning with Expert Models", rank by it.
"""

import numpy as np
import numpy.typing as npt

from graft.transferability.base import Labels
from graft.transferability.representation import Representation, products


def knn(representation: Representation, labels: Labels) -> float:
    """Return the share of examples, from 0 to 1, whose nearest other example has their label.

    One neighbour, so that two labels a class are enough; Euclidean distance of the features.
    """
    return float(np.mean(labels[representation.once(_nearest)] == labels))


def _nearest(representation: Representation) -> npt.NDArray[np.intp]:
    """Return the row of each example's nearest other one, the first of those that tie."""
    part = representation.part
    if part is None:
        return _nearest_of(representation, np.arange(len(representation.features)))
    # Only those whose neighbour is gone need another one.
    place = np.full(len(part.whole.features), -1)
    place[part.rows] = np.arange(len(part.rows))
    nearest = place[part.whole.once(_nearest)[part.rows]]
    bereft = np.flatnonzero(nearest < 0)
    nearest[bereft] = _nearest_of(representation, bereft)
    return np.asarray(nearest)


def _nearest_of(representation: Representation, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    inner = representation.once(products)
    squared = inner[rows] * -2
    squared += np.diagonal(inner)  # each row less a constant
    squared[np.arange(len(rows)), rows] = np.inf
    return np.asarray(squared.argmin(axis=1))
