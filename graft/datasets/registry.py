"""Data sets by name; adding one is a file in this folder and a line in `DATASETS`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from graft.datasets.arrays import Arrays
from graft.datasets.base import Dataset
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

if TYPE_CHECKING:
    AnyDataset = Dataset
else:
    AnyDataset = Annotated[Union[tuple(DATASETS.values())], Field(discriminator="name")]  # noqa: UP007
