"""The answer as a table in the terminal and as the few numbers of evaluate.json."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graft.evaluation.arms import CALIBRATION_COLUMNS, Arm
from graft.scores.comparison import Comparison

if TYPE_CHECKING:
    from rich.table import Table


def summary(result: Comparison) -> dict[str, object]:
    """Return evaluate.json: each key is a column of `dvc exp show`."""
    return {
        "verdict": result.verdict,
        "source": result.source,
        "method": result.method,
        "labels_per_class": result.labels_per_class,
        "target_accuracy": result.target_accuracy,
        "scratch_accuracy": result.scratch_accuracy,
        "transfer_gain": result.transfer_gain,
        "transfer_gain_low": result.transfer_gain_low,
        "transfer_gain_high": result.transfer_gain_high,
        "labels_saved": result.labels_saved,
    }


def calibration_line(row: Sequence[Any]) -> str:
    """Return how well the exported model's probabilities fit, before and after scaling.

    Parameters
    ----------
    row
        Its row of calibration.csv.
    """
    temperature, *numbers = row[len(CALIBRATION_COLUMNS) - 5 :]
    loss, loss_scaled, error, error_scaled = numbers
    return (
        f"On the test split its log loss is {loss:.3f} and its calibration error "
        f"{100 * error:.1f} %; with its logits divided by {temperature:.2f}, fitted inside the "
        f"labels, they would be {loss_scaled:.3f} and {100 * error_scaled:.1f} %."
    )


def answer_table(
    arms: Sequence[Arm], compared: Mapping[str, Sequence[Comparison]], confidence: float
) -> "Table":
    """Return test accuracy and gain of every arm, budget by budget, the control first."""
    from rich.table import Table

    several = len({arm.source for arm in arms}) > 2
    table = Table(title="Accuracy on the target's test split, by labels per class")
    table.add_column("labels", justify="right")
    for title in ("source", "method") if several else ("method",):
        # Cut short, two names can look the same.
        table.add_column(title, overflow="fold")
    for title in ("accuracy", "gain", f"{100 * confidence:g} % interval"):
        table.add_column(title, justify="right")
    table.add_column("verdict", no_wrap=True)
    for budget in arms[0].correct:
        for arm in arms:
            first = str(budget) if arm is arms[0] else ""
            name = (arm.source, arm.method) if several else (arm.method,)
            accuracy = f"{100 * arm.correct[budget].mean():.1f} %"
            row = _row(compared.get(arm.label, ()), budget)
            table.add_row(first, *name, accuracy, *(_gain(row) if row else ()))
        table.add_section()
    return table


def _row(rows: Sequence[Comparison], budget: object) -> Comparison | None:
    return next((row for row in rows if row.labels_per_class == budget), None)


def _gain(row: Comparison) -> tuple[str, str, str]:
    low, high = 100 * row.transfer_gain_low, 100 * row.transfer_gain_high
    return f"{100 * row.transfer_gain:+.1f}", f"{low:+.1f} to {high:+.1f}", row.verdict
