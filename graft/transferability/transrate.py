"""TransRate: how much shorter the features can be coded once the classes are known.

Huang, Huang, Rong, Yang, Wei (2022), "Frustratingly Easy Transferability Estimation".
"""

import numpy as np
import numpy.typing as npt

from graft.transferability.base import Labels
from graft.transferability.representation import Representation, centred

_DISTORTION = 1e-4


def transrate(representation: Representation, labels: Labels) -> float:
    """Return R(Z) - sum_c n_c / n R(Z_c) in nats, never below 0.

    R(Z) = 1/2 log det(I + Z^T Z / (n eps)) with eps = 1e-4. Z are the centred features, scaled
    to a mean squared length of 1, so that eps is a share of their variance; Z_c are those of
    class c, centred together with the others. Classes weigh as much as their share.
    """
    scaled = representation.once(_scaled)
    within = 0.0
    for label in np.unique(labels):
        of_class = scaled[labels == label]
        within += len(of_class) / len(scaled) * _rate(of_class)
    return max(representation.once(_whole) - within, 0.0)


def _scaled(representation: Representation) -> npt.NDArray[np.float64]:
    values = representation.once(centred)
    length = np.sqrt((values**2).sum() / len(values))
    return np.asarray(values / length) if length > 0 else values


def _whole(representation: Representation) -> float:
    return _rate(representation.once(_scaled))


def _rate(values: npt.NDArray[np.float64]) -> float:
    """Return half of log det(I + Z^T Z / (n eps)), from the smaller of Z^T Z and Z Z^T."""
    n, d = values.shape
    products = values @ values.T if n <= d else values.T @ values
    factor = np.linalg.cholesky(np.eye(len(products)) + products / (n * _DISTORTION))
    return float(np.log(np.diagonal(factor)).sum())
