"""Initialise the target's network with the source's weights; extract the features."""

import sys
from pathlib import Path

from graft import tracking
from graft.artifacts import load_class_names, load_model, save_array, save_json, save_model
from graft.datasets.prepared import Card, read_split
from graft.errors import reported
from graft.networks.base import Network
from graft.networks.registry import AnyNetwork
from graft.runtime import start_tensorflow
from graft.sections import read_declared
from graft.settings import Settings
from graft.streams import integer
from graft.transferring import TransferSection, counts, transfer_weights

TARGET = Path("data/prepared/target")
SOURCES = Path("models/sources")
INITIAL = Path("models/initial")
FEATURES = Path("data/features")
METRICS = Path("metrics/transfer")


class Declared(Settings):
    """The parameters that dvc.yaml declares for this stage."""

    seed: int
    network: AnyNetwork
    transfer: TransferSection = TransferSection()


def main(source: str) -> None:
    """Write the initial target model, its receipt and the features of the labelled examples."""
    given = read_declared(Path("params.yaml"), Declared)
    start_tensorflow()
    card = Card.read(TARGET)
    recorded = {"seed": given.seed, "network": given.network, "transfer": given.transfer}
    with tracking.run("transfer", recorded, source=source) as record:
        model = SOURCES / f"{source}.keras"
        network = given.network.build(
            card.input_shape,
            len(card.class_names),
            seed=integer(given.seed, "initial weights", "target", source),
            kind=card.kind,
        )
        receipt = transfer_weights(
            Network(load_model(model)),
            network,
            source_classes=load_class_names(model),
            target_classes=card.class_names,
            head=given.transfer.head,
        )
        features = network.features(read_split(TARGET / "train").inputs)
        save_model(INITIAL / f"{source}.keras", network.model, card.class_names)
        save_array(FEATURES / source / "train.npy", features)
        save_json(METRICS / f"{source}.json", {**counts(receipt), "receipt": receipt})
        record.metrics(counts(receipt))


if __name__ == "__main__":
    with reported():
        main(*sys.argv[1:])
