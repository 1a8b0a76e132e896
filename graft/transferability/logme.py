"""LogME: the evidence for a Bayesian linear model of the labels.

You, Liu, Wang, Long (2021), "LogME: Practical Assessment of Pre-trained Models for Transfer
Learning". The authors iterate to a fixed point; here the evidence is maximised outright, which
holds for fewer examples than features too.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation
from graft.transferability.spectrum import Spectrum, spectrum

Floats: TypeAlias = npt.NDArray[np.float64]

# Where the ratio alpha / beta is looked for, over the largest s^2, as natural logarithms. Labels
# that the features explain without a residue have an evidence beyond all bounds; the lower end
# gives them a large one.
_RANGE = (-28.0, 24.0)
_POINTS = 105
_ZOOMS = 3
_ZOOM_POINTS = 33


def logme(representation: Representation, labels: Labels) -> float:
    """Return the mean over classes of the maximum log evidence, over n. It has no bounds.

    For the one-hot column y of a class and features F, without an intercept,

        y ~ N(0, I / beta + F F^T / alpha),

    and the evidence is the density of y, maximised over alpha and beta.
    """
    n = len(labels)
    shape = representation.once(spectrum)
    targets = indicators(labels)
    inside = (shape.left.T @ targets) ** 2
    outside = np.maximum((targets**2).sum(axis=0) - inside.sum(axis=0), 0.0)
    return float(_maximum_evidence(shape, inside, outside, n).mean() / n)


def _maximum_evidence(shape: Spectrum, inside: Floats, outside: Floats, n: int) -> Floats:
    """Return the maximum over alpha and beta for every class, (classes,).

    For a given ratio the best beta is known, so that one dimension is left: it is searched on
    a grid, as there can be more than one maximum, and on ever finer ones around the best point.

    Parameters
    ----------
    inside, outside
        The squared length of each class's column along each direction, (r, classes), and
        outside of them all, (classes,).
    """
    scale = np.log(shape.squares.max(initial=0.0) or 1.0)
    grid = np.linspace(*_RANGE, _POINTS)
    centre, spacing = np.zeros((1, 1)), grid[1] - grid[0]
    for _ in range(1 + _ZOOMS):
        log_ratio = np.clip(centre + grid, *_RANGE)
        evidence = _evidence(np.exp(log_ratio + scale), shape, inside, outside, n)
        best = evidence.argmax(axis=1)[:, np.newaxis]
        candidates = np.broadcast_to(log_ratio, evidence.shape)
        centre = np.take_along_axis(candidates, best, axis=1)
        grid = np.linspace(-spacing, spacing, _ZOOM_POINTS)
        spacing = grid[1] - grid[0]
    return np.asarray(evidence.max(axis=1))


def _evidence(ratios: Floats, shape: Spectrum, inside: Floats, outside: Floats, n: int) -> Floats:
    """Return the log evidence at each alpha / beta, with the best beta, (classes, ratios)."""
    kept = ratios[..., np.newaxis] / (shape.squares + ratios[..., np.newaxis])
    residues = (kept @ inside.T[..., np.newaxis])[..., 0] + outside[:, np.newaxis]
    fit = -n / 2 * (np.log(2 * np.pi * residues / n) + 1)
    return np.asarray(fit + np.log(kept).sum(axis=-1) / 2)
