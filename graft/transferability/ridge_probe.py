"""A linear classifier on the features, judged on examples that it has not seen."""

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
    of_class = indicators(labels)
    errors = [
        residuals.of(of_class) / leverage
        for residuals, leverage in representation.once(_leave_one_out)
    ]
    if not errors:
        return 0.0
    best = min(errors, key=lambda error: float(np.sum(error**2)))
    predicted = (of_class - best).argmax(axis=1)
    return float(np.mean(of_class[np.arange(len(labels)), predicted]))


def _leave_one_out(
    representation: Representation,
) -> list[tuple[RidgeResiduals, npt.NDArray[np.float64]]]:
    """Return, for each strength, the residuals and what each is divided by, (n, 1)."""
    values = representation.once(centred)
    scale = float((values**2).sum()) / min(values.shape)
    if scale == 0:
        return []
    of = representation.once(spectrum)
    ridges = [RidgeResiduals(of, strength * scale) for strength in _STRENGTHS]
    return [(ridge, ridge.diagonal()[:, np.newaxis]) for ridge in ridges]
