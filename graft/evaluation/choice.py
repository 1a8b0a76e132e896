"""Of which comparison the answer speaks, and which model is exported."""

from collections.abc import Sequence

from graft.core.errors import GraftError
from graft.core.labels import Budget
from graft.evaluation.arms import Arm
from graft.scores.comparison import Comparison


def choose(arms: Sequence[Arm], method: str) -> tuple[Arm, str]:
    """Return the arm that the headline speaks of, and why it.

    The best by cross-validation inside the labels of the largest budget: highest accuracy,
    then lowest log loss, then the order of params.yaml. The test split has no say. Where the
    arms were tuned, that is the estimate of what was chosen: a little too high, for each arm
    alike, as their grids have one size.

    Parameters
    ----------
    method
        A method's name, to choose among sources only, or ``auto``.
    """
    candidates = [arm for arm in arms if method in ("auto", arm.method)]
    if len(candidates) == 1:
        return candidates[0], "the only candidate"
    if any(arm.cross_validation is None for arm in candidates):
        return candidates[0], (
            "the first one listed: with fewer than 2 labels in a class, "
            "nothing can be cross-validated"
        )
    best = max(candidates, key=_merit)
    validation = best.cross_validation or {}
    tuned = ", flattered by tuning on the same folds" if validation.get("combinations") else ""
    return best, (
        f"the best of {len(candidates)} by {validation['folds']}-fold cross-validation inside "
        f"the labels of the largest budget ({100 * validation['accuracy']:.0f} % there{tuned})"
    )


def headline(comparisons: Sequence[Comparison], budget: Budget | str) -> Comparison:
    """Return the comparison at the headline's budget; ``smallest`` is the first one."""
    if budget == "smallest":
        return comparisons[0]
    return next(row for row in comparisons if row.labels_per_class == budget)


def refuse_hurt(result: Comparison) -> None:
    """Raise a GraftError where the headline's verdict is `hurt`."""
    if result.verdict == "hurt":
        raise GraftError(
            f"transfer hurt ({100 * result.transfer_gain:+.1f} points), and evaluate.fail_on_hurt "
            "is true; train from scratch, transfer another way, or set it to false"
        )


def _merit(arm: Arm) -> tuple[float, float]:
    validation = arm.cross_validation or {}
    return validation["accuracy"], -validation["log_loss"]
