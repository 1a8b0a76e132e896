"""H-score: how much of the features' variance lies between the classes.

Bao, Li, Huang, Zhang, Zheng, Zamir, Guibas (2019), "An Information-Theoretic Approach to
Transferability in Task Transfer Learning".
"""

import numpy as np

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation
from graft.transferability.spectrum import spectrum

# The share of the vector of ones outside the features below which it lies within them.
_ROUNDING = 1e-10


def h_score(representation: Representation, labels: Labels) -> float:
    """Return tr(cov(F)^+ cov(E[F|y])), from 0 to the number of classes less 1.

    That is how much of the one-hot labels a linear regression on F explains. With no more
    examples than features it explains everything, true labels or random ones.
    """
    shape = representation.once(spectrum)
    of_class = indicators(labels)
    counts = of_class.sum(axis=0)
    along = shape.left.T @ of_class
    explained = (along**2).sum(axis=0)
    ones = along.sum(axis=1)
    beyond = len(labels) - ones @ ones
    if beyond > _ROUNDING * len(labels):
        explained += (counts - ones @ along) ** 2 / beyond
    # The intercept explains 1 in all.
    return max(float(np.sum(explained / counts)) - 1, 0.0)
