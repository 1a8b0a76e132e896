"""Evaluate every cell on the target's test split; compare, answer, and export the model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from graft.compute.runtime import start_tensorflow
from graft.compute.section import ComputeSection
from graft.core import tracking
from graft.core.alone import alone
from graft.core.artifacts import keep_only, load_json, load_model, save_csv, save_json, save_model
from graft.core.errors import reported
from graft.core.in_use import MethodsInUse, SourceSection
from graft.core.labels import Budget, Cell
from graft.core.network import Network
from graft.core.prepared import Card, Split, read_split
from graft.core.progress import progress
from graft.core.sections import read_declared
from graft.core.settings import Settings
from graft.core.streams import generator
from graft.evaluation.arms import (
    CALIBRATION_COLUMNS,
    CELL_COLUMNS,
    Arm,
    Trained,
    evaluate_arm,
    read_weights,
)
from graft.evaluation.choice import choose, headline, refuse_hurt
from graft.evaluation.report import answer_table, calibration_line, summary
from graft.evaluation.section import EvaluateSection
from graft.evaluation.tuning_effort import check_tuning_effort
from graft.scores.answer import answer
from graft.scores.comparison import COLUMNS, Comparison, compare, scratch_curve
from graft.scores.per_class import COLUMNS as CLASS_COLUMNS
from graft.scores.per_class import ClassGain, class_gains, winners_and_losers
from graft.scores.same_data import same_data
from graft.transferability.agreement import COLUMNS as RANKING_COLUMNS
from graft.transferability.agreement import agreements, order_of_gains
from graft.transferability.ranking import read_appraisals
from graft.transferability.tables import agreement_table

TARGET = Path("data/prepared/target")
INITIAL = Path("models/initial")
SOURCES = Path("metrics/train_source")
TRANSFER = Path("metrics/transfer")
FINETUNED = Path("models/finetuned")
STUDIES = Path("metrics/finetune")
METRICS = Path("metrics")
PLOTS = Path("metrics/plots")
EXPORTED = Path("models/target.keras")


class Declared(Settings):
    """The parameters that dvc.yaml declares for this stage."""

    seed: int
    source: SourceSection
    finetune: MethodsInUse
    evaluate: EvaluateSection
    compute: ComputeSection


def main() -> None:
    """Work out the answer and write it down."""
    given = read_declared(Path("params.yaml"), Declared)
    start_tensorflow(given.compute)
    card = Card.read(TARGET)
    recorded = {
        "seed": given.seed,
        "evaluate": given.evaluate,
        "compute": given.compute.chosen(),
    }
    with tracking.run("evaluate", recorded) as record:
        test = read_split(TARGET / "test")
        arms = evaluate_arms(given, test)
        labels = card.numeric_budgets()
        compared = compare_arms(given, arms, labels)
        chosen, reason = choose(arms[1:], given.evaluate.method)
        result = headline(compared[chosen.label], given.evaluate.headline_budget)
        gains = gains_by_class(given, arms, card, test)
        write_tables(arms, compared, gains, labels)
        export(chosen, card, test)
        save_json(METRICS / "evaluate.json", summary(result))
        record.headline(summary(result))
        record.evaluated(CELL_COLUMNS, [row for arm in arms for row in arm.rows])
        record.model(EXPORTED, card.class_names, test.inputs[:1])
        console = Console(highlight=False)
        console.print(answer_table(arms, compared, given.evaluate.confidence))
        hold_rankings_against_gains(given, arms[1:], result, console)
        console.print(
            answer(
                result,
                scratch_curve(arms[0].correct, labels),
                labels[result.labels_per_class],
                margin=given.evaluate.margin,
                confidence=given.evaluate.confidence,
            )
        )
        for line in remarks(given, arms[0], chosen, result, gains, card):
            console.print(line)
        console.print(f"{EXPORTED} holds `{chosen.label}`: {reason}.")
        for row in chosen.calibration:
            if row[2:4] == (card.labels_per_class[-1], 0):
                console.print(calibration_line(row))
        if given.evaluate.fail_on_hurt:
            refuse_hurt(result)


def evaluate_arms(given: Declared, test: Split) -> list[Arm]:
    """Return every arm with its cells evaluated, the control first."""
    sources, methods = given.source.candidates, given.finetune.methods
    pairs = [("", "scratch"), *((source, method) for source in sources for method in methods)]
    for folder in (FINETUNED, STUDIES):
        keep_only(folder, [f"{source}/{method}".strip("/") for source, method in pairs])
    keep_only(INITIAL, sources)
    keep_only(TRANSFER, sources)
    keep_only(SOURCES, sources)
    studies = [load_json(STUDIES / source / f"{method}.json") for source, method in pairs]
    arms = [
        Arm(*pair, study.get("cross_validation"), len(study.get("grid", ())))
        for pair, study in zip(pairs, studies, strict=True)
    ]
    check_tuning_effort(arms)
    with progress("evaluating", len(pairs)) as advance:
        for arm, study in zip(arms, studies, strict=True):
            network = Network(load_model(INITIAL / f"{arm.source or sources[0]}.keras"))
            models = FINETUNED / arm.source / arm.method
            evaluate_arm(arm, network, read_cells(study, models), test)
            advance(1)
    return arms


def compare_arms(
    given: Declared, arms: list[Arm], labels: dict[Budget, float]
) -> dict[str, list[Comparison]]:
    """Return every arm's comparisons with the control, which comes first, budget by budget."""
    return {
        arm.label: compare(
            arm.source,
            arm.method,
            arm.correct,
            arms[0].correct,
            labels,
            seed=given.seed,
            margin=given.evaluate.margin,
            confidence=given.evaluate.confidence,
            resamples=given.evaluate.resamples,
        )
        for arm in arms[1:]
    }


def gains_by_class(
    given: Declared, arms: list[Arm], card: Card, test: Split
) -> dict[tuple[str, Budget], list[ClassGain]]:
    """Return the gains on each class, by arm and budget."""
    labels = np.asarray(test.labels)
    return {
        (arm.label, budget): class_gains(
            arm.source,
            arm.method,
            budget,
            arm.correct[budget],
            arms[0].correct[budget],
            labels=labels,
            class_names=card.class_names,
            seed=given.seed,
            confidence=given.evaluate.confidence,
            resamples=given.evaluate.resamples,
        )
        for arm in arms[1:]
        for budget in arm.correct
    }


def remarks(  # noqa: PLR0917 - the whole study has a say
    given: Declared,
    scratch: Arm,
    chosen: Arm,
    result: Comparison,
    gains: dict[tuple[str, Budget], list[ClassGain]],
    card: Card,
) -> list[str]:
    """Return what else there is to say of the headline: its control, its classes."""
    budget = result.labels_per_class
    control = same_data(
        result,
        load_json(SOURCES / f"{chosen.source}.json"),
        finetuning_steps=chosen.steps[budget],
        control_steps=scratch.steps[budget],
        every_label=budget == card.labels_per_class[-1],
    )
    classes = winners_and_losers(
        gains[chosen.label, budget], result.repeats, given.evaluate.confidence
    )
    return [line for line in (control, classes) if line]


def read_cells(study: dict[str, Any], models: Path) -> Iterator[Trained]:
    """Yield what fine-tuning left of each cell of an arm."""
    for row in study["cells"]:
        cell = Cell(row["labels_per_class"], row["repeat"])
        yield Trained(cell, read_weights(models, cell), row["steps"], row["temperature"])


def write_tables(
    arms: list[Arm],
    compared: dict[str, list[Comparison]],
    gains: dict[tuple[str, Budget], list[ClassGain]],
    labels: dict[Budget, float],
) -> None:
    """Write the tables of cells, comparisons, classes, calibration and accuracy over labels."""
    save_csv(METRICS / "cells.csv", CELL_COLUMNS, [row for arm in arms for row in arm.rows])
    calibration = [row for arm in arms for row in arm.calibration]
    save_csv(METRICS / "calibration.csv", CALIBRATION_COLUMNS, calibration)
    by_class = [gain.row() for of_classes in gains.values() for gain in of_classes]
    save_csv(METRICS / "per_class.csv", CLASS_COLUMNS, by_class)
    rows = [comparison.row() for of_arm in compared.values() for comparison in of_arm]
    save_csv(METRICS / "comparison.csv", COLUMNS, rows)
    points = [
        (arm.label, labels[budget], repeat, float(correct[repeat].mean()))
        for arm in arms
        for budget, correct in arm.correct.items()
        for repeat in range(len(correct))
    ]
    columns = ("method", "labels_per_class", "repeat", "accuracy")
    save_csv(PLOTS / "accuracy_over_labels.csv", columns, points)


def hold_rankings_against_gains(
    given: Declared, methods: list[Arm], result: Comparison, console: Console
) -> None:
    """Write ranking.csv; with several sources, print its rows for the headline."""
    sources = given.source.candidates
    appraisals = read_appraisals(TRANSFER, sources)
    correct: dict[tuple[str, Budget], dict[str, npt.NDArray[np.bool_]]] = {}
    for arm in methods:
        for budget, right in arm.correct.items():
            correct.setdefault((arm.method, budget), {})[arm.source] = right
    rows = agreements(
        appraisals,
        correct,
        generator(given.seed, "agreement"),
        confidence=given.evaluate.confidence,
        resamples=given.evaluate.resamples,
    )
    save_csv(METRICS / "ranking.csv", RANKING_COLUMNS, [row.row() for row in rows])
    headline_cell = result.method, result.labels_per_class
    shown = [row for row in rows if (row.method, row.labels_per_class) == headline_cell]
    if shown:
        realised = order_of_gains(sources, correct[headline_cell])
        confidence = given.evaluate.confidence
        console.print(agreement_table(shown, appraisals, realised, confidence))


def export(chosen: Arm, card: Card, test: Split) -> None:
    """Write the chosen arm's model at the largest budget, first repeat, and its confusions."""
    network = Network(load_model(INITIAL / f"{chosen.source}.keras"))
    cell = Cell(card.labels_per_class[-1], 0)
    network.assign(read_weights(FINETUNED / chosen.source / chosen.method, cell))
    save_model(EXPORTED, network.model, card.class_names)
    predicted = network.probabilities(test.inputs).argmax(axis=1)
    names = card.class_names
    pairs = [(names[a], names[p]) for a, p in zip(test.labels, predicted, strict=True)]
    save_csv(PLOTS / "confusion.csv", ("actual", "predicted"), pairs)


if __name__ == "__main__":
    with reported(), alone("evaluate"):
        main()
