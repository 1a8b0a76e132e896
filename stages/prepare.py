"""Prepare the data: load every task, check it, split it and draw the label budgets."""

from pathlib import Path
from typing import Any

import numpy as np

from graft.core import tracking
from graft.core.alone import alone
from graft.core.artifacts import replacing_folder, workspace
from graft.core.errors import reported
from graft.core.in_use import SourceSection
from graft.core.prepared import (
    Examples,
    always_labelled,
    read_split,
    row_bytes,
    write_source,
    write_target,
)
from graft.core.sections import read_declared
from graft.core.settings import Identifier, Settings
from graft.core.streams import generator
from graft.datasets.tasks import TargetTask, Task

RAW = Path("data/raw")
SOURCES = Path("data/prepared/sources")
TARGET = Path("data/prepared/target")
WORKSPACE = Path("data/prepared/.workspace.partial")


class Declared(Settings):
    """The parameters that dvc.yaml declares for this stage."""

    seed: int
    sources: dict[Identifier, Task]
    source: SourceSection
    target: TargetTask


def main() -> None:
    """Write data/prepared from `sources`, `target` and data/raw."""
    given = read_declared(Path("params.yaml"), Declared)
    recorded = {
        "seed": given.seed,
        "sources": {name: given.sources[name] for name in given.source.candidates},
        "source": given.source,
        "target": given.target,
    }
    with tracking.run("prepare", recorded) as record:
        record.metrics({"target": prepare_target(given)["examples"]})
        for source in given.source.candidates:
            record.metrics({source: prepare_source(source, given)["examples"]})


def prepare_target(given: Declared) -> dict[str, Any]:
    """Write the target task."""
    task = given.target
    with workspace(WORKSPACE) as space, replacing_folder(TARGET) as folder:
        return write_target(
            folder,
            load(task, space, generator(given.seed, "data set of the target")),
            kind=task.dataset.kind,
            labels_per_class=task.labels_per_class,
            repeats=task.repeats,
            test_fraction=task.test_fraction,
            seed=given.seed,
        )


def prepare_source(source: str, given: Declared) -> dict[str, Any]:
    """Write one source task, without what the target is tested on."""
    task = given.sources[source]
    tested = frozenset(row_bytes(read_split(TARGET / "test").inputs))
    with workspace(WORKSPACE) as space, replacing_folder(SOURCES / source) as folder:
        return write_source(
            folder,
            load(task, space, generator(given.seed, "data set", source)),
            kind=task.dataset.kind,
            validation_fraction=given.source.validation_fraction,
            rng=generator(given.seed, "validation split", source),
            exclude=tested,
            labelled_by_target=always_labelled(TARGET),
        )


def load(task: Task, space: Path, rng: np.random.Generator) -> Examples:
    """Load a task's data set."""
    return task.dataset.load(RAW, task.classes, rng, space)


if __name__ == "__main__":
    with reported(), alone("prepare"):
        main()
