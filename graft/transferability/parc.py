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
    excess = float(np.sum(of_class * (ranks.excess @ of_class)))
    spread = math.sqrt(ranks.squares * alike * (pairs - alike) / pairs)
    return -100 * excess / spread if spread > 0 else 0.0


@dataclass(frozen=True)
class _PairRanks:
    """The ranks of all pairs' distances less their mean, and the sum of their squares.

    Of the ranks, (n, n), only those below the diagonal are there: each pair once.
    """

    excess: npt.NDArray[np.float64]
    squares: float


def _pair_ranks(representation: Representation) -> _PairRanks:
    part, n = representation.part, len(representation.features)
    if part is None:
        places = representation.once(_places)
    else:
        kept = np.zeros(len(part.whole.features), bool)
        kept[part.rows] = True
        places = part.whole.once(_places)[np.outer(kept, kept)[_below(len(kept))]]
    pairs = np.bincount(places)
    # Pairs that tie share the mean of their ranks.
    ranks = np.cumsum(pairs, dtype=np.float64)
    ranks -= pairs / 2
    ranks -= len(places) / 2
    squares = float(pairs @ ranks**2)
    excess = np.zeros((n, n))
    excess[_below(n)] = ranks[places]
    return _PairRanks(excess, squares)


def _places(representation: Representation) -> npt.NDArray[np.int32]:
    """Return each pair's place in the order of distances; pairs that tie share theirs.

    The order of the pairs of a part is that of the whole, so that nothing is sorted again.
    """
    features = representation.features
    values = features - features.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    distances = 1 - (values @ values.T)[_below(len(values))]
    order = np.argsort(distances)
    places = np.zeros(len(order), np.int32)  # there are half a million pairs of 1,000 examples
    places[order[1:]] = np.cumsum(np.diff(distances[order]) > 0, dtype=np.int32)
    return places


def _below(n: int) -> npt.NDArray[np.bool_]:
    return np.tri(n, k=-1, dtype=bool)
