"""Kinds of data sets, one file each; `DATASETS` lists them by the name params.yaml uses."""

from graft.datasets.arrays import Arrays
from graft.datasets.base import Dataset, Examples
from graft.datasets.handwritten_digits import HandwrittenDigits
from graft.datasets.images import Images
from graft.datasets.keras_datasets import Cifar10, Cifar100, FashionMnist, Mnist
from graft.datasets.printed_digits import PrintedDigits

DATASETS: dict[str, type[Dataset]] = {
    "arrays": Arrays,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "fashion_mnist": FashionMnist,
    "handwritten-digits": HandwrittenDigits,
    "images": Images,
    "mnist": Mnist,
    "printed-digits": PrintedDigits,
}

__all__ = ["DATASETS", "Dataset", "Examples"]
