"""Networks by name; adding one is a file in this folder and a line in `NETWORKS`."""

from graft.networks.article import Article
from graft.networks.base import Architecture, Network
from graft.networks.resnet import ResNet
from graft.networks.small_cnn import SmallCNN

NETWORKS: dict[str, type[Architecture]] = {
    "article": Article,
    "resnet": ResNet,
    "small_cnn": SmallCNN,
}

__all__ = ["NETWORKS", "Architecture", "Network"]
