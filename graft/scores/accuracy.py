"""The share of examples whose most probable class is the true one."""

from typing import Any

import numpy as np
import numpy.typing as npt


def correct(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.bool_]:
    """Return, for each example, whether its most probable class is the true one.

    Of classes that are equally probable the first counts, as in every score here.
    """
    predicted: npt.NDArray[np.intp] = probabilities.argmax(axis=1)
    return np.asarray(predicted == labels)


def accuracy(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Return the share of correct examples, from 0 to 1."""
    return float(correct(probabilities, labels).mean())
