"""Train a model on the source task."""

import sys
from pathlib import Path

from graft.compute.runtime import start_tensorflow
from graft.compute.section import ComputeSection, precision_here
from graft.core import tracking
from graft.core.alone import alone
from graft.core.artifacts import save_csv, save_json, save_model
from graft.core.errors import reported
from graft.core.prepared import Card, read_split
from graft.core.sections import read_declared
from graft.core.settings import Settings
from graft.core.streams import generator, integer
from graft.networks.registry import AnyNetwork
from graft.training import checkpoints
from graft.training.loop import Recipe
from graft.training.source import train_source

SOURCES = Path("data/prepared/sources")
MODELS = Path("models/sources")
METRICS = Path("metrics/train_source")
PLOTS = Path("metrics/plots/source")


class Declared(Settings):
    """The parameters that dvc.yaml declares for this stage."""

    seed: int
    network: AnyNetwork
    train_source: Recipe
    compute: ComputeSection


def main(source: str) -> None:
    """Train one candidate source; write its model, metrics and learning curve."""
    given = read_declared(Path("params.yaml"), Declared)
    start_tensorflow(given.compute)
    card = Card.read(SOURCES / source)
    recorded = {
        "seed": given.seed,
        "network": given.network,
        "train_source": given.train_source,
        "compute": given.compute.chosen(),
    }
    with (
        tracking.run("train_source", recorded, source=source) as record,
        checkpoints.kept(record.fingerprint) as checkpoint,
    ):
        network = given.network.build(
            card.input_shape,
            len(card.class_names),
            seed=integer(given.seed, "initial weights", source),
            kind=card.kind,
        )
        metrics, curve = train_source(
            network,
            read_split(SOURCES / source / "train"),
            read_split(SOURCES / source / "validation"),
            given.train_source,
            generator(given.seed, "order", source),
            checkpoint=checkpoint,
            precision=precision_here(given.compute.precision),
        )
        metrics["train_shared_with_target"] = card.notes["train_shared_with_target"]
        save_model(MODELS / f"{source}.keras", network.model, card.class_names)
        save_json(METRICS / f"{source}.json", metrics)
        save_csv(PLOTS / f"{source}.csv", ("step", "loss", "validation_accuracy"), curve)
        record.metrics(metrics)
        record.curve("loss", [(step, loss) for step, loss, _ in curve])
        record.curve("validation_accuracy", [(step, accuracy) for step, _, accuracy in curve])


if __name__ == "__main__":
    with reported(), alone("train_source", *sys.argv[1:]):
        main(*sys.argv[1:])
