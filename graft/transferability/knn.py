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
    inner = representation.once(products)
    lengths = np.diagonal(inner)
    squared = lengths - 2 * inner  # each row less a constant
    np.fill_diagonal(squared, np.inf)
    return np.asarray(squared.argmin(axis=1))
