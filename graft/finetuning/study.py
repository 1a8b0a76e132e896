"""What a fine-tuning stage leaves behind: weights per cell, metrics and learning curves."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.artifacts import (
    load_array,
    replacing_folder,
    save_arrays,
    save_csv,
    save_json,
)
from graft.core.labels import Budget, Cell, cells
from graft.core.prepared import Card, read_split
from graft.core.progress import progress
from graft.core.tracking import Run
from graft.finetuning.cross_validation import OutOfFold
from graft.finetuning.finetuner import Finetuned, Labelled
from graft.finetuning.grids import Values


def read_labelled(train: Path, features: Path | None = None) -> Labelled:
    """Memory-map the target's labelled examples and, where given, their features."""
    split = read_split(train)
    return Labelled(
        split.inputs,
        split.labels,
        load_array(train / "label_ranks.npy"),
        load_array(features) if features else None,
    )


def write_study(  # noqa: PLR0917 - what comes in, then what goes out
    results: Iterable[tuple[Cell, Finetuned, float]],
    card: Card,
    models: Path,
    metrics: Path,
    curve: Path,
    record: Run,
    *,
    arm: dict[str, str],
    cross_validation: Callable[[], OutOfFold | None],
    grid: Sequence[Values] = (),
) -> dict[str, Any]:
    """Work through every cell of one arm, write what came of it, and return the metrics.

    Parameters
    ----------
    results
        Each cell, its weights and curve, and its accuracy on its own labels; made lazily.
    models, metrics, curve
        The folder and the two files to write.
    arm
        Names of the source and the method, for the metrics.
    cross_validation
        Called after the cells, for the first repeat of the largest budget, unless it was tuned.
        Its temperature is noted with that cell, whose model is the one to export.
    grid
        The combinations among which the cells were tuned.
    """
    rows: list[dict[str, Any]] = []
    curves: dict[Budget, list[list[tuple[int, float]]]] = {}
    total = len(list(cells(card.labels_per_class, card.repeats)))
    with (
        replacing_folder(models) as folder,
        progress(f"training {' '.join(arm.values())}", total) as advance,
    ):
        for cell, finetuned, accuracy in results:
            save_arrays(folder / f"{cell.name}.npz", finetuned.weights)
            curves.setdefault(cell.labels_per_class, []).append(finetuned.curve)
            rows.append(_row(cell, finetuned, accuracy))
            record.cell(
                {**arm, "labels_per_class": cell.labels_per_class, "repeat": cell.repeat},
                {"train_accuracy": accuracy, "steps": finetuned.steps},
                {"objective": finetuned.curve},
                finetuned.tuning.chosen if finetuned.tuning else None,
            )
            advance(1)
        estimate = _estimate(rows, card.labels_per_class[-1], cross_validation)
    record.metrics({"cross_validation": estimate or {}})
    study = {**arm, "cross_validation": estimate, **({"grid": grid} if grid else {}), "cells": rows}
    save_json(metrics, study)
    points = [
        (budget, step, value)
        for budget, repeats in curves.items()
        for step, value in _mean_curve(repeats)
    ]
    save_csv(curve, ("labels_per_class", "step", "objective"), points)
    for budget, repeats in curves.items():
        record.curve(f"objective/{budget}_labels", _mean_curve(repeats))
    return study


def _row(cell: Cell, finetuned: Finetuned, accuracy: float) -> dict[str, Any]:
    """Return what the metrics say of one cell."""
    row: dict[str, Any] = {
        "labels_per_class": cell.labels_per_class,
        "repeat": cell.repeat,
        "steps": finetuned.steps,
        "objective": finetuned.curve[-1][1] if finetuned.curve else None,
        "train_accuracy": accuracy,
        "temperature": None,
    }
    tuning = finetuned.tuning
    if tuning is not None:
        row |= {"temperature": tuning.temperature, "chosen": tuning.chosen, "tuning": tuning.record}
    return row


def _estimate(
    rows: list[dict[str, Any]],
    budget: Budget,
    cross_validation: Callable[[], OutOfFold | None],
) -> dict[str, Any] | None:
    """Return the estimate by which methods are chosen: of the first repeat of `budget`.

    Where that cell was tuned, it is what was said of the chosen combination then.
    """
    exported = next(row for row in rows if row["labels_per_class"] == budget)
    tuning = exported.get("tuning")
    if tuning and tuning["folds"]:
        best = tuning["scores"][tuning["best"]]
        combinations = len(tuning["scores"])
        folds = tuning["folds"]
        return {"labels_per_class": budget, "folds": folds, **best, "combinations": combinations}
    validation = cross_validation()
    if validation is None:
        return None
    exported["temperature"] = validation.temperature
    return {
        "labels_per_class": budget,
        "folds": validation.folds,
        "accuracy": validation.accuracy,
        "log_loss": validation.log_loss,
    }


def _mean_curve(repeats: list[list[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Average the curves of a budget's repeats, step by step."""
    return [
        (points[0][0], float(np.mean([value for _, value in points])))
        for points in zip(*repeats, strict=True)
    ]
