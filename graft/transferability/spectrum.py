"""The singular vectors of the features, which five of the scores share.

With F the features (n, d), F F^T = U diag(s^2) U^T. Everything that ridge regression on F says
of any labels follows from U and s: one decomposition serves all labels and all strengths.
"""

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
    n, d = features.shape
    wide = n <= d
    squares, vectors = np.linalg.eigh(features @ features.T if wide else features.T @ features)
    extends = squares > _LEAST * max(squares[-1], 0.0)
    squares, vectors = squares[extends], vectors[:, extends]
    left = vectors if wide else features @ vectors / np.sqrt(squares)
    return Spectrum(left, squares)


class RidgeResiduals:
    """The residuals of ridge regression on the features, with an intercept free of penalty.

    For a strength l they are M y, where with G = l (F F^T + l I)^-1

        M = G - G 1 1^T G / (1^T G 1).

    Parameters
    ----------
    strength
        l, above 0.
    """

    def __init__(self, of: Spectrum, strength: float) -> None:
        self._left = of.left
        self._kept = of.kept(strength)
        ones = np.ones((len(of.left), 1))
        self._of_ones = self._without_intercept(ones)
        self._total = float(self._of_ones.sum())

    def of(self, targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return M y for each column of `targets`, (n, columns)."""
        residuals = self._without_intercept(targets)
        return np.asarray(residuals - self._of_ones * (residuals.sum(axis=0) / self._total))

    def diagonal(self) -> npt.NDArray[np.float64]:
        """Return the diagonal of M, (n,): what a residual is divided by to leave its example out.

        See Dubrule (1983), "Cross validation of kriging in a unique neighborhood".
        """
        of_each = 1 - self._left**2 @ (1 - self._kept)
        return np.asarray(of_each - self._of_ones[:, 0] ** 2 / self._total)

    def _without_intercept(self, targets: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        explained = (1 - self._kept)[:, np.newaxis] * (self._left.T @ targets)
        return np.asarray(targets - self._left @ explained)
