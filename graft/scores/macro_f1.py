"""The mean over classes of the harmonic mean of precision and recall."""

from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.imports import lean_imports


def macro_f1(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Return the mean F1, from 0 to 1, over the classes that occur in `labels`.

    A class that is never predicted has an F1 of 0. A class without a test example is left out;
    predicting it is still a miss for the class that was true.
    """
    with lean_imports():
        from sklearn.metrics import f1_score

    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    return float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0))
