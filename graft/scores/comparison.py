"""Each method against training from scratch, budget by budget."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core import streams
from graft.core.labels import Budget
from graft.scores.labels_saved import ScratchCurve, labels_saved, labels_saved_interval
from graft.scores.paired import paired_gain
from graft.scores.verdict import Verdict, verdict

Correct = Mapping[Budget, npt.NDArray[Any]]


@dataclass(frozen=True)
class Comparison:
    """One row of metrics/comparison.csv: a source, a method and a budget against scratch.

    ``labels_saved`` is None where scratch does not reach the method's accuracy within the
    budgets tried, and so is an end of its interval that lies beyond them.
    """

    source: str
    method: str
    labels_per_class: Budget
    repeats: int
    target_accuracy: float
    scratch_accuracy: float
    transfer_gain: float
    transfer_gain_low: float
    transfer_gain_high: float
    verdict: Verdict
    labels_saved: float | None
    labels_saved_low: float | None
    labels_saved_high: float | None

    def row(self) -> tuple[object, ...]:
        """Return the values in the order of `COLUMNS`."""
        return tuple(getattr(self, column) for column in COLUMNS)


COLUMNS = tuple(field.name for field in dataclasses.fields(Comparison))


def compare(
    source: str,
    method: str,
    correct_method: Correct,
    correct_scratch: Correct,
    labels: Mapping[Budget, float],
    *,
    seed: int,
    margin: float = 0.01,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> list[Comparison]:
    """Return one comparison for each budget of the method, in ascending order of labels.

    Parameters
    ----------
    correct_method, correct_scratch
        By budget, (repeats, test examples): true or 1 where the prediction was correct. Row r
        of both is the same repeat, column j the same test example.
    labels
        By budget, labels per class as a number; for ``all`` the mean count.
    seed
        The bootstrap draws from a stream named by source, method and budget, so that adding
        one leaves the intervals of the others as they were.
    margin, confidence, resamples
        See `verdict` and `paired_gain`.

    Raises
    ------
    ValueError
        If scratch lacks a budget of the method, `labels` lacks one of scratch, or a pair of
        arrays does not belong together.
    """
    _check_budgets(correct_method, correct_scratch, labels)
    curve = scratch_curve(correct_scratch, labels)
    scratch = [
        correct_scratch[budget] for budget in sorted(correct_scratch, key=labels.__getitem__)
    ]
    comparisons = []
    for budget in sorted(correct_method, key=labels.__getitem__):
        gain = paired_gain(
            correct_method[budget],
            correct_scratch[budget],
            streams.generator(seed, "paired_gain", source, method, str(budget)),
            confidence=confidence,
            resamples=resamples,
        )
        saved_low, saved_high = labels_saved_interval(
            scratch,
            curve.labels,
            correct_method[budget],
            labels[budget],
            streams.generator(seed, "labels_saved", source, method, str(budget)),
            confidence=confidence,
            resamples=resamples,
        )
        accuracy = _accuracy(correct_method[budget])
        comparisons.append(
            Comparison(
                source=source,
                method=method,
                labels_per_class=budget,
                repeats=gain.repeats,
                target_accuracy=accuracy,
                scratch_accuracy=_accuracy(correct_scratch[budget]),
                transfer_gain=gain.gain,
                transfer_gain_low=gain.low,
                transfer_gain_high=gain.high,
                verdict=verdict(gain.low, gain.high, margin),
                labels_saved=labels_saved(curve, accuracy, labels[budget]).ratio,
                labels_saved_low=saved_low,
                labels_saved_high=saved_high,
            )
        )
    return comparisons


def scratch_curve(correct_scratch: Correct, labels: Mapping[Budget, float]) -> ScratchCurve:
    """Return the mean accuracy of scratch at each of its budgets, by labels per class."""
    budgets = sorted(correct_scratch, key=labels.__getitem__)
    return ScratchCurve(
        labels=tuple(float(labels[budget]) for budget in budgets),
        accuracies=tuple(_accuracy(correct_scratch[budget]) for budget in budgets),
    )


def _accuracy(correct: npt.NDArray[Any]) -> float:
    return float(correct.mean(dtype=np.float64))


def _check_budgets(
    correct_method: Correct, correct_scratch: Correct, labels: Mapping[Budget, float]
) -> None:
    unpaired = [budget for budget in correct_method if budget not in correct_scratch]
    if unpaired:
        raise ValueError(
            f"budgets {unpaired} of a method without scratch at the same; expected scratch at "
            f"every budget of a method, received {list(correct_scratch)}"
        )
    unknown = [budget for budget in correct_scratch if budget not in labels]
    if unknown:
        raise ValueError(
            f"no number of labels per class for budgets {unknown}; received {list(labels)}"
        )
