"""How many labels training from scratch needs for what a method reaches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERS_AT_ONCE = 2**22
# Two means of the same counts can differ in their last digits.
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class LabelsSaved:
    """The labels per class that scratch needs, as such and over the labels the method used.

    Both are None where scratch does not reach the method's accuracy within the budgets tried.
    ``at_most`` says that its smallest budget already exceeds that accuracy: it may need fewer.
    """

    labels_needed: float | None
    ratio: float | None
    at_most: bool


@dataclass(frozen=True)
class ScratchCurve:
    """The accuracy of training from scratch at each budget.

    Attributes
    ----------
    labels
        Labels per class of each budget, above 0, in ascending order. With imbalanced data
        this is the mean over classes.
    accuracies
        One a budget, as measured: they may fall where labels rise.

    Raises
    ------
    ValueError
        If the two differ in length, are empty or not in order.
    """

    labels: tuple[float, ...]
    accuracies: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.labels or len(self.labels) != len(self.accuracies):
            raise ValueError(
                f"{len(self.labels)} budgets and {len(self.accuracies)} accuracies; expected "
                "as many of one as of the other, and at least one"
            )
        if self.labels[0] <= 0 or list(self.labels) != sorted(self.labels):
            raise ValueError(f"budgets {self.labels}; expected them above 0 and ascending")


def labels_saved(curve: ScratchCurve, accuracy: float, labels_used: float) -> LabelsSaved:
    """Return where the scratch curve reaches `accuracy`, which took a method `labels_used`.

    The curve is made monotone (isotonic regression, budgets weighing the same), taken as
    linear in the logarithm of the labels, and followed to the first point as high as
    `accuracy`. It is not extended beyond the budgets tried.
    """
    if not labels_used > 0:
        raise ValueError(f"{labels_used} labels used; expected a number above 0")
    heights = monotone(np.array([curve.accuracies]))
    needed = float(_labels_needed(np.array(curve.labels), heights, np.array([accuracy]))[0])
    at_most = bool(heights[0, 0] > accuracy + _TOLERANCE)
    if np.isinf(needed):
        return LabelsSaved(None, None, at_most=False)
    return LabelsSaved(needed, needed / labels_used, at_most)


def labels_saved_interval(
    correct_scratch: Sequence[npt.NDArray[Any]],
    labels: Sequence[float],
    correct_method: npt.NDArray[Any],
    labels_used: float,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> tuple[float | None, float | None]:
    """Return the percentile interval of the ratio of `labels_saved`; an end may be open (None).

    A resample draws the test examples with replacement and the mean over repeats from the normal
    distribution with the repeats' own spread, both for the method and for every budget of
    scratch together. An end beyond the budgets tried is open.

    Parameters
    ----------
    correct_scratch
        One (repeats, test examples) array a budget.
    labels
        Labels per class of each budget, ascending.
    correct_method
        (repeats, test examples), at the budget whose labels per class are `labels_used`.
    """
    arms = [np.asarray(arm, dtype=np.float64) for arm in (*correct_scratch, correct_method)]
    curve = ScratchCurve(tuple(labels), tuple(float(arm.mean()) for arm in arms[:-1]))
    examples = {arm.shape[1] for arm in arms}
    if len(examples) != 1:
        raise ValueError(f"arrays over {sorted(examples)} test examples; expected the same ones")
    accuracies = np.concatenate(list(_resampled_accuracies(arms, rng, resamples)))
    heights = monotone(accuracies[:, :-1])
    ratios = _labels_needed(np.array(curve.labels), heights, accuracies[:, -1]) / labels_used
    tail = (1 - confidence) / 2
    # A quantile between two resamples would be undefined between a number and infinity.
    low = float(np.quantile(ratios, tail, method="lower"))
    high = float(np.quantile(ratios, 1 - tail, method="higher"))
    return None if np.isinf(low) else low, None if np.isinf(high) else high


def monotone(accuracies: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the isotonic regression of each row: the nearest rows that never fall.

    At i it is the largest over j <= i of the smallest over k >= i of the mean from j to k
    (the minimax formula; Robertson, Wright & Dykstra 1988, "Order restricted statistical
    inference").
    """
    budgets = accuracies.shape[1]
    result = np.full_like(accuracies, -np.inf)
    for first in range(budgets):
        means = accuracies[:, first:].cumsum(axis=1) / np.arange(1, budgets - first + 1)
        smallest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        result[:, first:] = np.maximum(result[:, first:], smallest)
    return result


def _labels_needed(
    labels: npt.NDArray[np.float64],
    heights: npt.NDArray[np.float64],
    accuracies: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return, for each row of `heights`, where it reaches its accuracy; infinite if nowhere."""
    reached = heights >= accuracies[:, None] - _TOLERANCE
    rows, after = np.arange(len(heights)), reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    below, above = heights[rows, before], heights[rows, after]
    rise = np.where(above > below, above - below, 1.0)
    share = np.clip((accuracies - below) / rise, 0.0, 1.0)
    # Linear in the logarithm of the labels.
    needed = labels[before] * (labels[after] / labels[before]) ** share
    return np.where(reached.any(axis=1), needed, np.inf)


def _resampled_accuracies(
    arms: Sequence[npt.NDArray[np.float64]], rng: np.random.Generator, resamples: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield (resamples, arms) accuracies, some resamples at a time to bound the memory."""
    examples = arms[0].shape[1]
    of_examples = np.stack([arm.mean(axis=0) for arm in arms], axis=1)
    # Examples that are as often right in every arm are exchangeable: counting how often each
    # kind is drawn is the same bootstrap, and there are fewer kinds than examples.
    kinds, counts = np.unique(of_examples, axis=0, return_counts=True)
    at_once = max(1, _NUMBERS_AT_ONCE // len(kinds))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = rng.multinomial(examples, counts / examples, size=count)
        yield drawn @ kinds / examples + _repeat_deviations(arms, rng, count)


def _repeat_deviations(
    arms: Sequence[npt.NDArray[np.float64]], rng: np.random.Generator, count: int
) -> npt.NDArray[np.float64]:
    """Return how far new repeats move each arm's accuracy, (count, arms).

    They follow Student's distribution with the repeats' own unbiased variances and covariances:
    arms with as many repeats share them, as repeat r of each has the same labels. One repeat
    shows none. What is particular to one example in one repeat counts among the examples too;
    with repeats - 1 degrees of freedom the intervals would be too wide, so there are twice as
    many.
    """
    drawn = {
        repeats: _student(rng, count, repeats) for repeats in sorted({len(arm) for arm in arms})
    }
    deviations = [arm.mean(axis=1) - arm.mean() for arm in arms]
    return np.stack([drawn[len(each)] @ each for each in deviations], axis=1)


def _student(rng: np.random.Generator, count: int, repeats: int) -> npt.NDArray[np.float64]:
    """Return weights of the repeats' deviations, (count, repeats)."""
    if repeats == 1:
        return np.zeros((count, 1))
    freedom = 2 * (repeats - 1)
    spread = np.sqrt(rng.chisquare(freedom, (count, 1)) / freedom)
    scale = spread * np.sqrt(repeats * (repeats - 1))
    return np.asarray(rng.standard_normal((count, repeats)) / scale, dtype=np.float64)
