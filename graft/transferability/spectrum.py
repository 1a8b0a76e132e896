"""The singular vectors of the features, which five of the scores share.

With F the features (n, d), F F^T = U diag(s^2) U^T. Everything that ridge regression on F says
of any labels follows from U and s: one decomposition serves all labels and all strengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.transferability.representation import Representation

# A direction with less than a millionth of the largest s is rounding: features are float32.
_LEAST = 1e-12


@dataclass(frozen=True)
class Spectrum:
    """The directions in which the features extend.

    Attributes
    ----------
    left
        U, (n, r): orthonormal columns.
    squares
        s^2, (r,): above 0.
    """

    left: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    def kept(self, strength: float) -> npt.NDArray[np.float64]:
        """Return the share of each direction that a ridge of `strength` leaves unexplained."""
        return np.asarray(strength / (self.squares + strength))


def spectrum(representation: Representation) -> Spectrum:
    """Return the spectrum of the features as they are, not centred."""
    features = representation.features
    wide = _is_wide(representation)
    squares, vectors = np.linalg.eigh(representation.once(_gram))
    extends = squares > _LEAST * max(squares[-1], 0.0)
    squares, vectors = squares[extends], vectors[:, extends]
    left = vectors if wide else features @ (vectors / np.sqrt(squares))
    return Spectrum(left, squares)


def _is_wide(representation: Representation) -> bool:
    n, d = representation.features.shape
    return bool(n <= d)


def _gram(representation: Representation) -> npt.NDArray[np.float64]:
    """Return the smaller of F F^T and F^T F."""
    features, part = representation.features, representation.part
    wide = _is_wide(representation)
    if part is not None and _is_wide(part.whole) == wide:
        of_whole = part.whole.once(_gram)
        if wide:
            return np.asarray(of_whole[np.ix_(part.rows, part.rows)])
        removed = part.whole.features[part.removed]
        return np.asarray(of_whole - removed.T @ removed)
    return np.asarray(features @ features.T if wide else features.T @ features)


class RidgeResiduals:
    """The residuals of ridge regressions on the features, with an intercept free of penalty.

    For a strength l they are M y, where with G = l (F F^T + l I)^-1

        M = G - G 1 1^T G / (1^T G 1).

    Parameters
    ----------
    strengths
        Each l, above 0.
    """

    def __init__(self, of: Spectrum, strengths: Sequence[float]) -> None:
        self._left = of.left
        # The share of each direction that each ridge explains, (strengths, r).
        self._shares = np.stack([1 - of.kept(strength) for strength in strengths])
        ones = np.ones((len(of.left), 1))
        self._of_ones = self._without_intercept(ones)
        self._totals = self._of_ones.sum(axis=1, keepdims=True)

    def of(self, targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return M y for each strength and each column of `targets`, (strengths, n, columns)."""
        residuals = self._without_intercept(targets)
        sums = residuals.sum(axis=1, keepdims=True)
        return np.asarray(residuals - self._of_ones * (sums / self._totals))

    def diagonals(self) -> npt.NDArray[np.float64]:
        """Return each M's diagonal, (strengths, n): what leaving an example out divides by.

        See Dubrule (1983), "Cross validation of kriging in a unique neighborhood".
        """
        of_each = 1 - self._shares @ (self._left**2).T
        return np.asarray(of_each - self._of_ones[..., 0] ** 2 / self._totals[..., 0])

    def _without_intercept(self, targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # All strengths at once: one product with the many rows of U instead of one for each.
        along = self._left.T @ targets
        explained = self._shares[..., np.newaxis] * along
        stacked = explained.transpose(1, 0, 2).reshape(len(along), -1)
        fitted = (self._left @ stacked).reshape(len(targets), *explained.shape[::2])
        return np.asarray(targets - fitted.transpose(1, 0, 2))
