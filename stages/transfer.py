"""Initialise the target's network with the source's weights; extract and appraise the features."""

import sys
from pathlib import Path
from typing import Any

import numpy.typing as npt
from rich.console import Console

from graft.compute.runtime import start_tensorflow
from graft.compute.section import ComputeSection
from graft.core import tracking
from graft.core.alone import alone
from graft.core.artifacts import (
    load_array,
    load_class_names,
    load_model,
    save_array,
    save_json,
    save_model,
)
from graft.core.errors import reported
from graft.core.labels import labelled
from graft.core.network import Network
from graft.core.prepared import Card, read_split
from graft.core.progress import progress
from graft.core.sections import read_declared
from graft.core.settings import Settings
from graft.core.streams import integer
from graft.networks.registry import AnyNetwork
from graft.transferability.appraisal import Appraisal, appraise, rows_to_score
from graft.transferability.representation import Representation
from graft.transferability.tables import appraisal_table
from graft.transferring import (
    TransferSection,
    counts,
    source_probabilities,
    transfer_weights,
)

TARGET = Path("data/prepared/target")
SOURCES = Path("models/sources")
INITIAL = Path("models/initial")
FEATURES = Path("data/features")
METRICS = Path("metrics/transfer")


class Declared(Settings):
    """The parameters that dvc.yaml declares for this stage."""

    seed: int
    network: AnyNetwork
    transfer: TransferSection
    compute: ComputeSection


def main(source: str) -> None:
    """Write the initial target model, its receipt and the features of the labelled examples."""
    given = read_declared(Path("params.yaml"), Declared)
    start_tensorflow(given.compute)
    card = Card.read(TARGET)
    recorded = {
        "seed": given.seed,
        "network": given.network,
        "transfer": given.transfer,
        "compute": given.compute.chosen(),
    }
    with tracking.run("transfer", recorded, source=source) as record:
        model = SOURCES / f"{source}.keras"
        network = given.network.build(
            card.input_shape,
            len(card.class_names),
            seed=integer(given.seed, "initial weights", "target", source),
            kind=card.kind,
        )
        trained = Network(load_model(model))
        receipt = transfer_weights(
            trained,
            network,
            source_classes=load_class_names(model),
            target_classes=card.class_names,
            head=given.transfer.head,
        )
        inputs = read_split(TARGET / "train").inputs
        with progress(f"extracting features of {source}", len(inputs)) as advance:
            features = network.features(inputs, on_rows=advance)
        probabilities = source_probabilities(trained, receipt, features)
        appraisals, examples = score(given, card, features, probabilities)
        save_model(INITIAL / f"{source}.keras", network.model, card.class_names)
        save_array(FEATURES / source / "train.npy", features)
        scores = {name: appraisal.row() for name, appraisal in appraisals.items()}
        metrics = {**counts(receipt), "examples": examples, "transferability": scores}
        save_json(METRICS / f"{source}.json", {**metrics, "receipt": receipt})
        record.metrics(metrics)
        Console(highlight=False).print(appraisal_table(source, appraisals, examples))


def score(
    given: Declared,
    card: Card,
    features: npt.NDArray[Any],
    probabilities: npt.NDArray[Any] | None,
) -> tuple[dict[str, Appraisal], int]:
    """Appraise the labelled examples of the largest budget, first repeat; return their number."""
    labels = read_split(TARGET / "train").labels
    ranks = load_array(TARGET / "train" / "label_ranks.npy")[0]
    rows = labelled(ranks, card.labels_per_class[-1])
    rows = rows[rows_to_score(labels[rows], ranks[rows], given.transfer.scored_examples)]
    representation = Representation(
        features[rows], None if probabilities is None else probabilities[rows]
    )
    appraisals = appraise(representation, labels[rows], given.transfer.scores, seed=given.seed)
    return appraisals, len(rows)


if __name__ == "__main__":
    with reported(), alone("transfer", *sys.argv[1:]):
        main(*sys.argv[1:])
