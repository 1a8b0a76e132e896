"""How little probability the true classes were given."""

from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.imports import lean_imports


def log_loss(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Return the mean negative log-probability of the true class, in nats; 0 is best.

    Probabilities below 2.2e-16 count as 2.2e-16, so that one example costs 36 nats at most.
    Classes that do not occur in `labels` take part through the probability they were given.
    """
    with lean_imports():
        from sklearn import metrics

    # Single-precision rows miss a sum of 1 by more than scikit-learn tolerates in double.
    normalised = np.asarray(probabilities, dtype=np.float64)
    normalised = normalised / normalised.sum(axis=1, keepdims=True)
    classes = np.arange(probabilities.shape[1])
    return float(metrics.log_loss(labels, normalised, labels=classes))
