"""What an interval for the gain says: helped, hurt, equivalent, or that one cannot tell."""

from typing import Literal

Verdict = Literal["equivalent", "helped", "hurt", "inconclusive"]


def verdict(low: float, high: float, margin: float) -> Verdict:
    """Return the first of equivalent, helped, hurt and inconclusive that applies.

    Parameters
    ----------
    low, high
        The ends of the confidence interval of the gain.
    margin
        A gain within [-margin, margin] makes no difference that matters. An interval that
        lies within it is `equivalent` even where it leaves out 0.
    """
    # Written so that NaN fails.
    if not low <= high:
        raise ValueError(f"an interval from {low} to {high}; expected low <= high")
    if not margin >= 0:
        raise ValueError(f"a margin of {margin}; expected 0 or more")
    if -margin <= low and high <= margin:
        return "equivalent"
    if low > 0:
        return "helped"
    if high < 0:
        return "hurt"
    return "inconclusive"
