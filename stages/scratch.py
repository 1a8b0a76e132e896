"""Train the control: the same network, labels and steps, from random weights."""

from pathlib import Path

from graft.compute.runtime import start_tensorflow
from graft.compute.section import ComputeSection, precision_here
from graft.core import tracking
from graft.core.alone import alone
from graft.core.errors import reported
from graft.core.prepared import Card
from graft.core.sections import read_declared
from graft.core.settings import Settings
from graft.core.streams import integer
from graft.finetuning.cross_validation import cross_validate
from graft.finetuning.finetuner import CellTraining, Finetuner, finetune_cells
from graft.finetuning.methods import ScratchSection
from graft.finetuning.study import read_labelled, write_study
from graft.finetuning.tuning import Tuner, account
from graft.networks.registry import AnyNetwork
from graft.training import checkpoints

TARGET = Path("data/prepared/target")
MODELS = Path("models/finetuned/scratch")
METRICS = Path("metrics/finetune/scratch.json")
CURVE = Path("metrics/plots/finetune/scratch.csv")


class Declared(Settings):
    """The parameters that dvc.yaml declares for this stage."""

    seed: int
    network: AnyNetwork
    scratch: ScratchSection
    finetune: CellTraining
    compute: ComputeSection


def main() -> None:
    """Train every cell from random weights, and cross-validate at the largest budget."""
    given = read_declared(Path("params.yaml"), Declared)
    start_tensorflow(given.compute)
    card = Card.read(TARGET)
    recipe = given.scratch.recipe(given.finetune.training)
    recorded = {
        "seed": given.seed,
        "network": given.network,
        "scratch": given.scratch,
        "training": recipe,
        "folds": given.finetune.folds,
        "compute": given.compute.chosen(),
    }
    with (
        tracking.run("scratch", recorded, method="scratch") as record,
        checkpoints.kept(record.fingerprint) as checkpoint,
    ):
        networks = [
            given.network.build(
                card.input_shape,
                len(card.class_names),
                seed=integer(given.seed, "initial weights", "scratch", str(repeat)),
                kind=card.kind,
            )
            for repeat in range(card.repeats)
        ]
        finetuner = Finetuner(
            networks[0],
            given.scratch.method,
            recipe,
            checkpoint=checkpoint,
            precision=precision_here(given.compute.precision),
        )
        labelled = read_labelled(TARGET / "train")
        starts = [network.weights() for network in networks]
        grid = finetuner.method.combinations
        folds = given.finetune.folds
        cells = finetune_cells(
            finetuner,
            labelled,
            card.labels_per_class,
            card.repeats,
            seed=given.seed,
            starts=starts,
            tune=Tuner(finetuner, labelled, folds, seed=given.seed, starts=starts)
            if grid
            else None,
        )
        study = write_study(
            cells,
            card,
            MODELS,
            METRICS,
            CURVE,
            record,
            arm={"method": "scratch"},
            cross_validation=lambda: cross_validate(
                finetuner,
                labelled,
                card.labels_per_class[-1],
                folds,
                seed=given.seed,
                start=starts[0],
            ),
            grid=grid,
        )
        if grid:
            print(f"scratch: {account(grid, study['cells'])}.")


if __name__ == "__main__":
    with reported(), alone("scratch"):
        main()
