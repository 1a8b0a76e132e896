"""The answer in words."""

from graft.scores.comparison import Comparison
from graft.scores.labels_saved import ScratchCurve, labels_saved


def answer(
    comparison: Comparison,
    curve: ScratchCurve,
    labels_used: float,
    *,
    margin: float = 0.01,
    confidence: float = 0.95,
) -> str:
    """Return the answer of one comparison as sentences in plain text.

    Parameters
    ----------
    comparison
        The chosen one; its verdict decides what is said.
    curve
        Scratch at every budget tried.
    labels_used
        Labels per class of the comparison's budget, as a number.
    margin, confidence
        With which the comparison was made.
    """
    evidence = _evidence(comparison, labels_used, confidence)
    if comparison.verdict == "helped":
        text = f"Transfer helped. {evidence}; {_saved(comparison, curve, labels_used, confidence)}."
    elif comparison.verdict == "hurt":
        text = f"Transfer hurt. {evidence}; training from scratch is the better choice."
    elif comparison.verdict == "equivalent":
        text = (
            f"Transfer made no difference that matters. {evidence}; the whole interval lies "
            f"within {_margin(margin)} of zero."
        )
    else:
        text = (
            f"We cannot tell whether transfer helped. {evidence}; the interval contains zero "
            f"and reaches beyond {_margin(margin)}. More repeats or more test examples would "
            "narrow it."
        )
    return text + _caution(comparison)


def _evidence(comparison: Comparison, labels_used: float, confidence: float) -> str:
    # Accuracies are as fine as the gain between them, or the two would look equal.
    digits = 1 if _is_fine(comparison.transfer_gain) else 0
    target = _percent(comparison.target_accuracy, digits)
    scratch = _percent(comparison.scratch_accuracy, digits)
    low, high = _ends(comparison)
    repeats = "1 repeat" if comparison.repeats == 1 else f"{comparison.repeats} repeats"
    return (
        f"With {_budget(comparison, labels_used)} `{comparison.method}` reaches {target} where "
        f"training from scratch reaches {scratch} ({_points(comparison.transfer_gain)} points, "
        f"{100 * confidence:g} % interval {low} to {high}, {repeats})"
    )


def _saved(
    comparison: Comparison, curve: ScratchCurve, labels_used: float, confidence: float
) -> str:
    saved = labels_saved(curve, comparison.target_accuracy, labels_used)
    if saved.labels_needed is None:
        text = f"scratch does not get there within the {_labels(curve.labels[-1])} tried"
    else:
        at_most = "at most " if saved.at_most else ""
        text = f"scratch needs {at_most}{_labels(saved.labels_needed)} for as much"
    low, high = comparison.labels_saved_low, comparison.labels_saved_high
    if low is None or low == high:
        # The interval lies beyond all that was tried, or is the point itself.
        return text
    fewest, most = curve.labels[0], curve.labels[-1]
    start = _number(low * labels_used)
    if fewest > 1 and low * labels_used <= fewest:
        start += " or fewer"
    end = f"beyond the {_number(most)} tried" if high is None else _number(high * labels_used)
    return f"{text} ({100 * confidence:g} % interval {start} to {end})"


def _caution(comparison: Comparison) -> str:
    if comparison.repeats > 1:
        return ""
    return (
        " The interval speaks of test examples alone: one repeat cannot show what another "
        "draw of labels would change."
    )


def _budget(comparison: Comparison, labels_used: float) -> str:
    if comparison.labels_per_class == "all":
        return f"all labels ({_number(labels_used)} per class)"
    return _labels(comparison.labels_per_class)


def _labels(count: float) -> str:
    number = _number(count)
    return f"{number} label per class" if number == "1" else f"{number} labels per class"


def _number(count: float) -> str:
    """Return whole numbers as such, others with one decimal below 10 and none above."""
    text = f"{count:.1f}"
    return f"{count:.0f}" if float(text) >= 10 else text.removesuffix(".0")


def _ends(comparison: Comparison) -> tuple[str, str]:
    ends = comparison.transfer_gain_low, comparison.transfer_gain_high
    low, high = (_points(end) for end in ends)
    # Where zero is left out, an end that rounds to zero must not look as if it were there.
    if comparison.verdict == "helped" and low == "0":
        low = f"{100 * ends[0]:+.1g}"
    if comparison.verdict == "hurt" and high == "0":
        high = f"{100 * ends[1]:+.1g}"
    return low, high


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"


def _points(gain: float) -> str:
    """Return a difference in percentage points, signed unless it rounds to 0."""
    text = f"{100 * gain:+.1f}" if _is_fine(gain) else f"{100 * gain:+.0f}"
    return "0" if float(text) == 0 else text


def _is_fine(gain: float) -> bool:
    # What rounds to 10.0 is shown as 10.
    return abs(round(100 * gain, 1)) < 10


def _margin(margin: float) -> str:
    points = f"{100 * margin:g}"
    return f"{points} point" if points == "1" else f"{points} points"
