"""Fine-tune the target network by one method, for every label budget and repeat."""

import sys
from pathlib import Path

from graft.compute.runtime import start_tensorflow
from graft.compute.section import ComputeSection, precision_here
from graft.core import tracking
from graft.core.alone import alone
from graft.core.artifacts import load_model
from graft.core.errors import reported
from graft.core.network import Network
from graft.core.prepared import Card, read_split
from graft.core.sections import read_declared
from graft.core.settings import Identifier, Settings
from graft.finetuning.cross_validation import cross_validate
from graft.finetuning.finetuner import CellTraining, Finetuner, finetune_cells
from graft.finetuning.methods import Method
from graft.finetuning.study import read_labelled, write_study
from graft.finetuning.tuning import Tuner, account
from graft.penalties.base import SourceTask
from graft.training import checkpoints

TARGET = Path("data/prepared/target")
INITIAL = Path("models/initial")
FEATURES = Path("data/features")
SOURCES = Path("data/prepared/sources")
SOURCE_MODELS = Path("models/sources")
MODELS = Path("models/finetuned")
METRICS = Path("metrics/finetune")
CURVES = Path("metrics/plots/finetune")


class Declared(Settings):
    """The parameters that dvc.yaml declares for this stage."""

    seed: int
    methods: dict[Identifier, Method]
    finetune: CellTraining
    compute: ComputeSection


def main(source: str, method: str) -> None:
    """Train every cell of one source and method, and cross-validate at the largest budget."""
    given = read_declared(Path("params.yaml"), Declared)
    start_tensorflow(given.compute)
    card = Card.read(TARGET)
    recorded = {
        "seed": given.seed,
        "method": given.methods[method],
        "training": given.finetune.training,
        "folds": given.finetune.folds,
        "compute": given.compute.chosen(),
    }
    with (
        tracking.run("finetune", recorded, source=source, method=method) as record,
        checkpoints.kept(record.fingerprint) as checkpoint,
    ):
        finetuner = Finetuner(
            Network(load_model(INITIAL / f"{source}.keras")),
            given.methods[method],
            given.finetune.training,
            read_source(source) if measures_source(given.methods[method]) else None,
            checkpoint,
            precision=precision_here(given.compute.precision),
        )
        labelled = read_labelled(TARGET / "train", FEATURES / source / "train.npy")
        grid = finetuner.method.combinations
        folds = given.finetune.folds
        cells = finetune_cells(
            finetuner,
            labelled,
            card.labels_per_class,
            card.repeats,
            seed=given.seed,
            tune=Tuner(finetuner, labelled, folds, seed=given.seed) if grid else None,
        )
        study = write_study(
            cells,
            card,
            MODELS / source / method,
            METRICS / source / f"{method}.json",
            CURVES / source / f"{method}.csv",
            record,
            arm={"source": source, "method": method},
            cross_validation=lambda: cross_validate(
                finetuner,
                labelled,
                card.labels_per_class[-1],
                folds,
                seed=given.seed,
            ),
            grid=grid,
        )
        if grid:
            print(f"{source} {method}: {account(grid, study['cells'])}.")


def measures_source(method: Method) -> bool:
    """Whether the method's penalty measures something on the source."""
    return method.penalty is not None and method.penalty.measures != "nothing"


def read_source(source: str) -> SourceTask:
    """Read the source's own model and examples, for the penalties that measure them."""
    train, validation = (read_split(SOURCES / source / s) for s in ("train", "validation"))
    return SourceTask(
        Network(load_model(SOURCE_MODELS / f"{source}.keras")),
        train.inputs,
        train.labels,
        validation.inputs,
        validation.labels,
    )


if __name__ == "__main__":
    with reported(), alone("finetune", *sys.argv[1:]):
        main(*sys.argv[1:])
