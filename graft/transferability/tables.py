"""Scores, rankings and what became of them, as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graft.transferability.agreement import Agreement
from graft.transferability.appraisal import Appraisal
from graft.transferability.ranking import ranked

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS = ("value", "95 % interval", "under permuted labels")


def appraisal_table(source: str, appraisals: Mapping[str, Appraisal], examples: int) -> "Table":
    """Return every score of one source, beside its null."""
    table = _table(f"Transferability of {source}, from {examples:,} labelled examples")
    table.add_column("score")
    _add_numbers(table)
    for name, appraisal in appraisals.items():
        table.add_row(name, *_cells(appraisal))
    _explain(table, appraisals)
    return table


def ranking_table(appraisals: Mapping[str, Mapping[str, Appraisal]], score: str) -> "Table":
    """Return the sources in the order of one score, beside their nulls."""
    table = _table(f"Candidate sources by {score}, before anything is fine-tuned")
    table.add_column("rank", justify="right")
    table.add_column("source")
    _add_numbers(table)
    for place, source in enumerate(ranked(appraisals, score), start=1):
        appraisal = appraisals[source][score]
        rank = "" if appraisal.value is None else str(place)
        table.add_row(rank, source, *_cells(appraisal))
    _explain(table, {source: scores[score] for source, scores in appraisals.items()})
    return table


def agreement_table(
    rows: Sequence[Agreement],
    appraisals: Mapping[str, Mapping[str, Appraisal]],
    realised: Sequence[str],
    confidence: float,
) -> "Table":
    """Return each score's order of the sources and how it agrees with that of the gains.

    Parameters
    ----------
    rows
        Of one method and one budget.
    realised
        The sources in the order of their gains.
    """
    budget = rows[0].labels_per_class
    labels = "1 label" if budget == 1 else f"{budget} labels"
    table = _table(f"Rankings against the gains of {rows[0].method} with {labels} per class")
    for title in ("score", "its order"):
        table.add_column(title)
    for title in ("Kendall's tau", f"{100 * confidence:g} % interval"):
        table.add_column(title, justify="right")
    places = {source: str(place) for place, source in enumerate(realised, start=1)}
    for row in rows:
        order = [
            places[source]
            for source in ranked(appraisals, row.score)
            if appraisals[source][row.score].value is not None
        ]
        table.add_row(row.score, " > ".join(order) or "-", *_tau(row))
    listed = ", ".join(f"{place} {source}" for source, place in places.items())
    table.caption = f"By their gains: {listed}."
    return table


def _table(title: str) -> "Table":
    from rich.table import Table

    return Table(title=title, title_justify="left", caption_justify="left")


def _add_numbers(table: "Table") -> None:
    for title in _NUMBERS:
        table.add_column(title, justify="right")


def _cells(appraisal: Appraisal) -> tuple[str, str, str]:
    interval, null = "-", "-"
    if appraisal.low is not None and appraisal.high is not None:
        interval = f"{_number(appraisal.low)} to {_number(appraisal.high)}"
    if appraisal.null is not None and appraisal.null_sd is not None:
        null = f"{_number(appraisal.null)} ± {appraisal.null_sd:.2g}"
    return _number(appraisal.value), interval, null


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _explain(table: "Table", appraisals: Mapping[str, Appraisal]) -> None:
    """Say below the table why some have no value."""
    reasons = [f"{name}: {row.reason}" for name, row in appraisals.items() if row.reason]
    table.caption = "\n".join(reasons) or None


def _tau(row: Agreement) -> tuple[str, str]:
    if row.kendall_tau is None or row.kendall_tau_low is None or row.kendall_tau_high is None:
        return "-", "-"
    return f"{row.kendall_tau:+.2f}", f"{row.kendall_tau_low:+.2f} to {row.kendall_tau_high:+.2f}"
