"""PARC: whether examples that look alike to the source have the same label.

Bolya, Mittapalli, Hoffman (2021), "Scalable Diverse Model Selection for Accessible Transfer
Learning".
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graft.transferability.base import Labels, indicators
from graft.transferability.representation import Representation


def parc(representation: Representation, labels: Labels) -> float:
    """Return 100 times a rank correlation (Spearman's), from -100 to 100.

    Over all pairs of examples, between 1 - corr of their features and 1 - corr of their one-hot
    labels. The correlation with an example whose features are all equal counts as 0.
    """
    ranks = representation.once(_pair_ranks)
    of_class = indicators(labels)
    counts = of_class.sum(axis=0)
    pairs = len(labels) * (len(labels) - 1) / 2
    alike = float(np.sum(counts * (counts - 1))) / 2
    # The labels' distance has two values: the rank correlation needs their mean ranks alone.
    excess = float(np.sum(of_class * (ranks.excess @ of_class))) / 2
    spread = math.sqrt(ranks.squares * alike * (pairs - alike) / pairs)
    return -100 * excess / spread if spread > 0 else 0.0


@dataclass(frozen=True)
class _PairRanks:
    """The ranks of all pairs' distances less their mean, (n, n), and the sum of their squares."""

    excess: npt.NDArray[np.float64]
    squares: float


def _pair_ranks(representation: Representation) -> _PairRanks:
    features = representation.features
    values = features - features.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    below = np.tri(len(values), k=-1, dtype=bool)
    ranks = _mean_ranks(1 - (values @ values.T)[below])
    ranks -= ranks.mean()
    excess = np.zeros(below.shape)
    excess[below] = ranks
    return _PairRanks(excess + excess.T, float(ranks @ ranks))


def _mean_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the rank of each value from 0; those that tie share the mean of theirs."""
    order = np.argsort(values)
    is_first = np.concatenate([[True], np.diff(values[order]) > 0])
    starts = np.append(np.flatnonzero(is_first), len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts[:-1] + starts[1:] - 1) / 2, np.diff(starts))
    return ranks
