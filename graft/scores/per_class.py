"""Which classes a method recognises better than scratch, and which worse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from graft.core import streams
from graft.core.labels import Budget
from graft.scores.paired import paired_gain, paired_p_value

Outcome = Literal["won", "lost", "unclear"]

# More in one sentence would not be read.
_LISTED = 5

COLUMNS = (
    "source",
    "method",
    "labels_per_class",
    "class",
    "test_examples",
    "scratch_recall",
    "target_recall",
    "gain",
    "gain_low",
    "gain_high",
    "outcome",
)


@dataclass(frozen=True)
class ClassGain:
    """One row of metrics/per_class.csv: what a method gains over scratch on one class.

    Attributes
    ----------
    gain_low, gain_high
        The interval for this class alone; None where it has a single test example. Of many such
        intervals some leave out zero by chance: `outcome` makes up for that.
    outcome
        ``won`` or ``lost`` where the gain differs from 0 with all classes of the same source,
        method and budget taken together: by Holm's procedure, the chance of any wrong call is at
        most 1 - confidence.
    """

    source: str
    method: str
    labels_per_class: Budget
    class_name: str
    test_examples: int
    scratch_recall: float
    target_recall: float
    gain: float
    gain_low: float | None
    gain_high: float | None
    outcome: Outcome

    def row(self) -> tuple[object, ...]:
        """Return the values in the order of `COLUMNS`."""
        return tuple(vars(self).values())


def class_gains(
    source: str,
    method: str,
    budget: Budget,
    correct_method: npt.NDArray[Any],
    correct_scratch: npt.NDArray[Any],
    *,
    labels: npt.NDArray[np.integer[Any]],
    class_names: Sequence[str],
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> list[ClassGain]:
    """Return the paired gain in recall on every class that has test examples.

    Parameters
    ----------
    correct_method, correct_scratch
        (repeats, test examples), whether the prediction was right; paired as for `paired_gain`.
    labels
        (test examples,): positions in `class_names`.
    """
    present = [label for label in range(len(class_names)) if np.any(labels == label)]
    pairs = [(correct_method[:, labels == c], correct_scratch[:, labels == c]) for c in present]
    p_values = [paired_p_value(*pair) for pair in pairs]
    differ = holm(np.array(p_values), 1 - confidence)
    gains = []
    for label, (of_method, of_scratch), sure in zip(present, pairs, differ, strict=True):
        name = class_names[label]
        gain = float(of_method.mean() - of_scratch.mean())
        low, high = None, None
        if len(of_method[0]) > 1:
            rng = streams.generator(seed, "class_gain", source, method, str(budget), name)
            interval = paired_gain(
                of_method, of_scratch, rng, confidence=confidence, resamples=resamples
            )
            gain, low, high = interval.gain, interval.low, interval.high
        gains.append(
            ClassGain(
                source=source,
                method=method,
                labels_per_class=budget,
                class_name=name,
                test_examples=len(of_method[0]),
                scratch_recall=float(of_scratch.mean()),
                target_recall=float(of_method.mean()),
                gain=gain,
                gain_low=low,
                gain_high=high,
                outcome=("won" if gain > 0 else "lost") if sure else "unclear",
            )
        )
    return gains


def holm(p_values: npt.NDArray[np.float64], level: float) -> npt.NDArray[np.bool_]:
    """Return which hypotheses fall, with a chance of at most `level` that any of them is true.

    The smallest p-value is held against level / m, the next against level / (m - 1), and so on
    to the first that does not fall (Holm 1979, "A simple sequentially rejective multiple test
    procedure").
    """
    order = np.argsort(p_values, kind="stable")
    below = p_values[order] <= level / np.arange(len(p_values), 0, -1)
    falls = np.zeros(len(p_values), bool)
    falls[order] = np.logical_and.accumulate(below)
    return falls


def winners_and_losers(gains: Sequence[ClassGain], repeats: int, confidence: float) -> str | None:
    """Return a sentence on the classes that won and those that lost; None where none did."""
    parts = []
    for outcome, what in (("won", "better on"), ("lost", "worse on")):
        called = [gain for gain in gains if gain.outcome == outcome]
        called.sort(key=lambda gain: -abs(gain.gain))
        if called:
            listed = [f"`{each.class_name}` ({100 * each.gain:+.0f})" for each in called[:_LISTED]]
            if len(called) > _LISTED:
                listed.append(f"{len(called) - _LISTED} more")
            parts.append(f"{what} {', '.join(listed)}")
    if not parts:
        return None
    # Two models that are as good as each other differ from class to class.
    caution = " Another repeat may well turn them." if repeats == 1 else ""
    return (
        f"Of {len(gains)} classes `{gains[0].method}` is {' and '.join(parts)}: points of recall, "
        f"{100 * confidence:g} % sure of the whole list.{caution}"
    )
