"""A linear classifier on the features, judged on examples that it has not seen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation, centred
from graft.transferability.spectrum import RidgeResiduals, spectrum

# Over the mean squared singular value of the centred features.
_STRENGTHS = tuple(10.0**power for power in range(-3, 4))


def ridge_probe(representation: Representation, labels: Labels) -> float:
    """Return the leave-one-out accuracy, from 0 to 1, of ridge regression on one-hot labels.

    The residual of an example that was left out is its residual over its leverage, so that
    nothing is fitted n times (Allen 1974, "The Relationship between Variable Selection and Data
    Augmentation and a Method for Prediction"). The strength is that of least squared
    leave-one-out error.
    """
    ridges = representation.once(_ridges)
    if ridges is None:
        return 0.0
    of_class = indicators(labels)
    errors = ridges.residuals.of(of_class) / ridges.leverages
    best = errors[np.square(errors).sum(axis=(1, 2)).argmin()]
    predicted = (of_class - best).argmax(axis=1)
    return float(np.mean(of_class[np.arange(len(labels)), predicted]))


@dataclass(frozen=True)
class _Ridges:
    """The residuals of every strength, and what each is divided by, (strengths, n, 1)."""

    residuals: RidgeResiduals
    leverages: npt.NDArray[np.float64]


def _ridges(representation: Representation) -> _Ridges | None:
    """Return the ridges of all strengths, or None where the features never vary."""
    values = representation.once(centred)
    scale = float((values**2).sum()) / min(values.shape)
    if scale == 0:
        return None
    strengths = [strength * scale for strength in _STRENGTHS]
    residuals = RidgeResiduals(representation.once(spectrum), strengths)
    return _Ridges(residuals, residuals.diagonals()[..., np.newaxis])
