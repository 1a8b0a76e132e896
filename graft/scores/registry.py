"""The scores of a cell by name; adding one is a file in this folder and a line in `SCORES`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graft.scores.accuracy import accuracy
from graft.scores.balanced_accuracy import balanced_accuracy
from graft.scores.calibration import expected_calibration_error
from graft.scores.log_loss import log_loss
from graft.scores.macro_f1 import macro_f1

Score = Callable[[npt.NDArray[np.floating[Any]], npt.NDArray[np.integer[Any]]], float]

# The order is that of the columns of metrics/cells.csv.
SCORES: dict[str, Score] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "log_loss": log_loss,
    "ece": expected_calibration_error,
}


def score_cell(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> dict[str, float]:
    """Return every score of one cell by name, in the order of `SCORES`.

    Parameters
    ----------
    probabilities
        (n, classes): one row a test example, each summing to 1.
    labels
        (n,): positions of the true classes.

    Raises
    ------
    ValueError
        If the two do not belong together or are not probabilities and positions.
    """
    _check(probabilities, labels)
    return {name: score(probabilities, labels) for name, score in SCORES.items()}


def _check(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> None:
    if probabilities.ndim != 2 or 0 in probabilities.shape:
        raise ValueError(f"probabilities of shape {probabilities.shape}; expected (n, classes)")
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"labels of shape {labels.shape} for probabilities of shape {probabilities.shape}; "
            "expected one label a row"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels of type {labels.dtype}; expected whole numbers")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()}; expected 0 to "
            f"{probabilities.shape[1] - 1}, positions in the columns of the probabilities"
        )
    # Half precision sums to 1 within about 1e-3; logits and unnormalised scores do not. The
    # comparison is written so that NaN fails it.
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if not (probabilities.min() >= 0 and np.all(np.abs(sums - 1) < 1e-2)):
        raise ValueError(
            "rows that are no probabilities (negative, not a number, or not summing to 1); "
            "expected the softmax of the network's output"
        )
