"""Temperature scaling: one number that makes a network as sure as it is right.

Guo et al. (2017), "On Calibration of Modern Neural Networks".
"""

from typing import Any

import numpy as np
import numpy.typing as npt

COLDEST, HOTTEST = 0.05, 20.0

# What a probability counts as at least: float32 softmax rounds small ones to zero.
_LEAST = float(np.finfo(np.float64).eps)


def fit_temperature(
    logits: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Return the T in [0.05, 20] by which logits / T have the lowest log loss.

    Above 1 the network was too sure, below 1 not sure enough. Where every label has the
    highest logit, the log loss falls without end as T does, and the result is near the lower bound.

    Parameters
    ----------
    logits
        (n, classes); logarithms of probabilities are logits too.
    labels
        Class indices, (n,).
    """
    from scipy.optimize import minimize_scalar

    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        chosen = scaled[np.arange(len(labels)), labels]
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - chosen))

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def scaled(
    probabilities: npt.NDArray[np.floating[Any]], temperature: float
) -> npt.NDArray[np.float64]:
    """Return softmax(log(probabilities) / temperature), (n, classes).

    The order of the classes stays, and with it the accuracy. Probabilities below 2.2e-16 count
    as 2.2e-16, as they do in the log loss.
    """
    logits = log_probabilities(probabilities) / temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def log_probabilities(
    probabilities: npt.NDArray[np.floating[Any]],
) -> npt.NDArray[np.float64]:
    """Return the logarithms of probabilities, of which the least counts as 2.2e-16."""
    return np.asarray(np.log(np.maximum(probabilities, _LEAST, dtype=np.float64)))
