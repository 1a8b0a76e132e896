"""H-score with a shrunk covariance, which also holds for fewer examples than features.

Ibrahim, Ponomareva, Mazumder (2022), "Newer is Not Always Better: Rethinking Transferability
Metrics, Their Peculiarities, Stability and Performance".
"""

import numpy as np

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation, centred, products, scatter
from graft.transferability.spectrum import RidgeResiduals, spectrum


def regularized_h_score(representation: Representation, labels: Labels) -> float:
    """Return tr(C^-1 (1 - a) cov(E[F|y])), from 0 to the number of classes less 1.

    C = (1 - a) cov(F) + a tr(cov(F)) / d I with the shrinkage a of Ledoit and Wolf (2004), "A
    well-conditioned estimator for large-dimensional covariance matrices"; both covariances are
    over n.

    Dividing by 1 - a turns C into the ridge of strength n a tr(cov(F)) / d / (1 - a): the score
    is how much of the one-hot labels that ridge regression explains.
    """
    residuals = representation.once(_residuals)
    if residuals is None:
        return 0.0
    of_class = indicators(labels)
    unexplained = (of_class * residuals.of(of_class)[0]).sum(axis=0) / of_class.sum(axis=0)
    return max(float(of_class.shape[1] - 1 - unexplained.sum()), 0.0)


def _residuals(representation: Representation) -> RidgeResiduals | None:
    """Return the residuals of the ridge, or None where shrinkage leaves nothing."""
    values = representation.once(centred)
    n, d = values.shape
    shrinkage = ledoit_wolf(representation)
    variance = float((values**2).sum()) / n
    if shrinkage == 1 or variance == 0:
        return None
    # Without shrinkage the ridge is the least one that rounding can tell from none.
    strength = n * variance / d * max(shrinkage / (1 - shrinkage), 1e-9)
    return RidgeResiduals(representation.once(spectrum), [strength])


def ledoit_wolf(representation: Representation) -> float:
    """Return the shrinkage, from 0 to 1: estimation error over distance from a multiple of I."""
    values = representation.once(centred)
    n, d = values.shape
    squared_norm = float((representation.once(scatter if d < n else products) ** 2).sum()) / n**2
    lengths = (values**2).sum(axis=1)
    mean_variance = lengths.mean() / d
    distance = squared_norm - d * mean_variance**2
    error = (float((lengths**2).mean()) - squared_norm) / n
    return float(np.clip(error / distance, 0, 1)) if distance > 0 else 1.0
