"""Whether a network that says 80 % is right 80 % of the time."""

from typing import Any

import numpy as np
import numpy.typing as npt

from graft.scores.accuracy import correct


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[np.integer[Any]],
    bins: int = 15,
) -> float:
    """Return the mean gap between confidence and accuracy, from 0 (calibrated) to 1.

    The confidence of an example is its highest probability. Examples fall into `bins` bins of
    equal width, each open below and closed above; a bin's gap is weighted by its share of the
    examples, so that an empty bin counts for nothing (Guo et al. 2017, "On calibration of
    modern neural networks").
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_of_example = np.searchsorted(inner_edges, confidence, side="left")
    gaps = correct(probabilities, labels) - confidence
    gap_sums = np.bincount(bin_of_example, weights=gaps, minlength=bins)
    return float(np.abs(gap_sums).sum() / len(labels))
