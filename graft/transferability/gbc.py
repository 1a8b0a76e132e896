"""GBC: how little the classes overlap, each taken for a Gaussian.

Pandy, Agostinelli, Uijlings, Ferrari, Mensink (2022), "Transferability Estimation using
Bhattacharyya Class Separability".
"""

import numpy as np
import numpy.typing as npt

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation, centred

# A unit that is silent within a class keeps this share of its variance over all classes.
_LEAST_VARIANCE = 1e-6


def gbc(representation: Representation, labels: Labels) -> float:
    """Return -sum_{i != j} exp(-D_B(i, j)), from -C (C - 1) for C classes to 0.

    D_B is the Bhattacharyya distance between the diagonal Gaussians of classes i and j:

        sum over units of (m_i - m_j)^2 / (8 v) + 1/2 log(v / sqrt(v_i v_j)), v = (v_i + v_j) / 2.

    It grows with the number of units: with very many of them every score is next to 0.
    """
    values, squares = representation.once(_varying)
    spread = squares.mean(axis=0)
    of_class = indicators(labels)
    counts = of_class.sum(axis=0)[:, np.newaxis]
    means = of_class.T @ values / counts
    variances = of_class.T @ squares / counts - means**2
    variances = np.maximum(variances, _LEAST_VARIANCE * spread)
    first, second = np.triu_indices(len(means), 1)
    pooled = (variances[first] + variances[second]) / 2
    distances = (means[first] - means[second]) ** 2 / (8 * pooled)
    logs = np.log(variances)
    distances += (np.log(pooled) - (logs[first] + logs[second]) / 2) / 2
    return -2 * float(np.exp(-distances.sum(axis=1)).sum())


def _varying(
    representation: Representation,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the centred units that vary at all, (n, units), and their squares."""
    values = representation.once(centred)
    squares = values**2
    varies = squares.any(axis=0)
    return (values, squares) if varies.all() else (values[:, varies], squares[:, varies])
