"""TransRate: how much shorter the features can be coded once the classes are known.

Huang, Huang, Rong, Yang, Wei (2022), "Frustratingly Easy Transferability Estimation".
"""

import numpy as np
import numpy.typing as npt

from graft.transferability.base import Labels
from graft.transferability.representation import Representation, centred, products, scatter

_DISTORTION = 1e-4


def transrate(representation: Representation, labels: Labels) -> float:
    """Return R(Z) - sum_c n_c / n R(Z_c) in nats, never below 0.

    R(Z) = 1/2 log det(I + Z^T Z / (n eps)) with eps = 1e-4. Z are the centred features, scaled
    to a mean squared length of 1, so that eps is a share of their variance; Z_c are those of
    class c, centred together with the others. Classes weigh as much as their share.
    """
    inner, values = representation.once(products), representation.once(centred)
    square = _mean_square(inner, len(labels))
    features = values.shape[1]
    within = 0.0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        # Scaled class by class: all inner products at once would be one more (n, n) in memory.
        if len(rows) <= features:
            of_class = inner[np.ix_(rows, rows)] / square
        else:
            scaled = values[rows] / np.sqrt(square)
            of_class = scaled.T @ scaled
        within += len(rows) / len(labels) * _rate(of_class, len(rows))
    return max(representation.once(_whole) - within, 0.0)


def _mean_square(inner: npt.NDArray[np.float64], n: int) -> float:
    """Return the mean squared length of n rows Z from Z^T Z or Z Z^T, and 1 where that is 0."""
    square = float(np.trace(inner)) / n
    return square if square > 0 else 1.0


def _whole(representation: Representation) -> float:
    n, d = representation.features.shape
    inner = representation.once(products if n <= d else scatter)
    return _rate(inner / _mean_square(inner, n), n)


def _rate(inner: npt.NDArray[np.float64], n: int) -> float:
    """Return half of log det(I + Z^T Z / (n eps)), from Z^T Z or Z Z^T of n rows Z."""
    factor = np.linalg.cholesky(np.eye(len(inner)) + inner / (n * _DISTORTION))
    return float(np.log(np.diagonal(factor)).sum())
