"""Whether the scores put the sources in the order of the gains that came of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.labels import Budget
from graft.transferability.appraisal import Appraisal

_COUNTS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Agreement:
    """One row of metrics/ranking.csv: a score against the gains of a method at a budget.

    ``candidates`` are the sources that the score has a value for. ``kendall_tau`` is 1 for the
    same order and -1 for the opposite one; None where the score or the gains tell no two
    candidates apart.
    """

    score: str
    method: str
    labels_per_class: Budget
    candidates: int
    kendall_tau: float | None
    kendall_tau_low: float | None
    kendall_tau_high: float | None

    def row(self) -> tuple[object, ...]:
        """Return the values in the order of `COLUMNS`."""
        return tuple(getattr(self, column) for column in COLUMNS)


COLUMNS = tuple(field.name for field in dataclasses.fields(Agreement))


def agreements(
    appraisals: Mapping[str, Mapping[str, Appraisal]],
    correct: Mapping[tuple[str, Budget], Mapping[str, npt.NDArray[Any]]],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> list[Agreement]:
    """Return the agreement of every score with the gains of every method and budget.

    All gains are over the same control, so that they have the order of the accuracies. The
    interval shows what other repeats and test examples would change in that order, by the
    bootstrap over both together, its deviations widened as `_stretch` says; it speaks of these
    candidates alone, not of others. A resample in which no two candidates differ counts as no
    agreement, 0.

    Parameters
    ----------
    appraisals
        By source, then by score.
    correct
        By method and budget, then by source: (repeats, test examples), whether the prediction
        was right; the same repeats and test examples for all.
    """
    if len(appraisals) < 2:
        return []
    sources = list(appraisals)
    scores = [
        name for name in appraisals[sources[0]] if all(name in appraisals[s] for s in sources)
    ]
    arms = np.stack([np.stack([of[source] for source in sources]) for of in correct.values()])
    measured = arms.mean(axis=(2, 3))
    resampled = _resampled_accuracies(arms, rng, resamples)
    resampled = measured + _stretch(arms.shape[2], confidence) * (resampled - measured)
    found = []
    for score in scores:
        values = [appraisals[source][score].value for source in sources]
        known = np.array([value is not None for value in values])
        given = np.array([value for value in values if value is not None])
        for number, (method, budget) in enumerate(correct):
            tau = kendall_tau(given, measured[number, known])
            ends: tuple[float | None, float | None] = (None, None)
            if not np.isnan(tau):
                ends = _interval(given, resampled[:, number, known], confidence)
            value = None if np.isnan(tau) else float(tau)
            found.append(Agreement(score, method, budget, int(known.sum()), value, *ends))
    return found


def kendall_tau(
    values: npt.NDArray[np.floating[Any]], gains: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """Return Kendall's tau-b of `values`, (candidates,), and each row of `gains`.

    NaN where either tells no two candidates apart.
    """
    first, second = np.triu_indices(len(values), 1)
    order = np.sign(values[first] - values[second])
    orders = np.sign(gains[..., first] - gains[..., second])
    size = np.sqrt(np.abs(order).sum() * np.abs(orders).sum(axis=-1))
    nowhere = np.full(size.shape, np.nan)
    return np.asarray(np.divide(orders @ order, size, out=nowhere, where=size > 0))


def _interval(
    values: npt.NDArray[np.float64], resampled: npt.NDArray[np.float64], confidence: float
) -> tuple[float, float]:
    taus = np.nan_to_num(kendall_tau(values, resampled), nan=0.0)
    tail = (1 - confidence) / 2
    # tau has few values: an end is one of them.
    low, high = np.quantile(taus, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _stretch(repeats: int, confidence: float) -> float:
    """Return by how much resamples of few repeats vary too little.

    Their variance is (repeats - 1) / repeats of the unbiased one, and that is itself uncertain:
    Student's quantile takes the place of the normal one. One repeat shows nothing of repeats, and
    the interval is over test examples alone.
    """
    from scipy.special import ndtri, stdtrit

    if repeats == 1:
        return 1.0
    tail = (1 - confidence) / 2
    return float(np.sqrt(repeats / (repeats - 1)) * stdtrit(repeats - 1, tail) / ndtri(tail))


def _resampled_accuracies(
    arms: npt.NDArray[np.bool_], rng: np.random.Generator, resamples: int
) -> npt.NDArray[np.float64]:
    """Return accuracies over resampled repeats and test examples, (resamples, cells, sources).

    Every resample draws once for all cells and sources: they stay paired.

    Parameters
    ----------
    arms
        (cells, sources, repeats, test examples).
    """
    cells, sources, repeats, examples = arms.shape
    flat = arms.reshape(-1, examples).T.astype(np.float64)
    at_once = max(1, _COUNTS_AT_ONCE // examples)
    parts = []
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        of_examples = rng.multinomial(examples, np.full(examples, 1 / examples), size=size)
        of_repeats = rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=size)
        sums = (of_examples @ flat).reshape(size, cells, sources, repeats)
        parts.append(np.einsum("bcsr,br->bcs", sums, of_repeats) / (repeats * examples))
    return np.concatenate(parts)


def order_of_gains(sources: Sequence[str], correct: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Return the sources, that of the highest accuracy first."""
    return sorted(sources, key=lambda source: float(correct[source].mean()), reverse=True)
