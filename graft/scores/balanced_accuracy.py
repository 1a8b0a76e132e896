"""Accuracy in which every class weighs the same."""

from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.imports import lean_imports


def balanced_accuracy(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.integer[Any]]
) -> float:
    """Return the mean recall, from 0 to 1, over the classes that occur in `labels`.

    A class without a test example has no recall and is left out. Predicting it is still a
    miss for the class that was true.
    """
    # balanced_accuracy_score warns when an absent class is predicted; this is the same number.
    with lean_imports():
        from sklearn.metrics import recall_score

    predicted, present = probabilities.argmax(axis=1), np.unique(labels)
    return float(recall_score(labels, predicted, labels=present, average="macro", zero_division=0))
