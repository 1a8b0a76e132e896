"""The small image data sets that Keras downloads, read without unpickling anything.

Files lie where Keras keeps them, ``~/.keras/datasets`` or ``$KERAS_HOME/datasets``, and are
read only if their SHA-256 is the published one. CIFAR is taken in its authors' binary version:
the one that Keras takes is pickled, and what was downloaded must not be unpickled.
"""

import gzip
import hashlib
import os
import socket
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from graft.core.errors import GraftError
from graft.core.prepared import Examples
from graft.datasets import archives
from graft.datasets.base import Dataset, chosen_classes, select

Bytes = npt.NDArray[np.uint8]

_TIMEOUT_SECONDS = 30
_CIFAR_PIXELS = 3 * 32 * 32
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


@dataclass(frozen=True)
class Download:
    """A file on the network, its place in Keras's cache, and its SHA-256."""

    url: str
    folder: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where the file lies once downloaded."""
        return _keras_home() / self.folder / self.url.rpartition("/")[2]

    def fetch(self) -> Path:
        """Return the path of the file, after downloading it if it is not there yet."""
        if not self.path.exists():
            self._download()
        elif _sha256(self.path) != self.sha256:
            raise GraftError(
                f"{self.path} is not the file that was published (its SHA-256 is "
                f"{_sha256(self.path)}, expected {self.sha256}); delete it, and graft downloads it"
            )
        return self.path

    def _download(self) -> None:
        import keras

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _network_timeout():
                keras.utils.get_file(
                    self.path.name,
                    self.url,
                    file_hash=self.sha256,
                    cache_dir=str(_keras_home()),
                    cache_subdir=self.folder,
                )
        except Exception as error:  # Keras turns every fault of the network into a bare Exception
            self.path.unlink(missing_ok=True)
            raise GraftError(
                f"{self.url} cannot be downloaded ({error}); put the file at {self.path} by hand, "
                "or use data of your own through the data set `images` or `arrays`"
            ) from None


class KerasDataset(Dataset):
    """A data set with fixed classes, an official test split and files to download."""

    available: ClassVar[tuple[str, ...]]
    downloads: ClassVar[tuple[Download, ...]]

    def check(self, raw: Path, classes: Sequence[str] | None) -> None:
        """Check the names of the classes; nothing is downloaded."""
        chosen_classes(self.available, classes)

    def load(
        self,
        raw: Path,
        classes: Sequence[str] | None,
        rng: np.random.Generator,
        workspace: Path,
    ) -> Examples:
        """Return the images, training before test, after downloading them if need be."""
        chosen_classes(self.available, classes)
        paths = [download.fetch() for download in self.downloads]
        inputs, labels, is_test = self.read(paths)
        if labels.max(initial=0) >= len(self.available):
            raise GraftError(
                f"{paths[0]}: label {labels.max()}; expected 0..{len(self.available) - 1}"
            )
        return select(Examples(inputs, labels.astype(np.int32), self.available, is_test), classes)

    @classmethod
    @abstractmethod
    def read(cls, paths: Sequence[Path]) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
        """Return inputs, labels and what is test, from the downloaded files."""


class Cifar10(KerasDataset):
    """60,000 colour images of 32x32 in 10 classes, 10,000 of them test (Krizhevsky, 2009)."""

    name: Literal["cifar10"] = "cifar10"
    available = (
        "airplane", "automobile", "bird", "cat", "deer",
        "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    downloads = (
        Download(
            f"{_CIFAR}cifar-10-binary.tar.gz",
            "datasets",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    )

    @classmethod
    def read(cls, paths: Sequence[Path]) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
        """Read the six batches of the binary version."""
        train = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
        return read_cifar(paths[0], train=train, test="test_batch.bin", label_bytes=1)


class Cifar100(KerasDataset):
    """60,000 colour images of 32x32 in 100 classes, 10,000 of them test (Krizhevsky, 2009)."""

    name: Literal["cifar100"] = "cifar100"
    available = (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
        "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
        "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
        "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
        "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit",
        "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower",
        "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train",
        "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    )  # fmt: skip
    downloads = (
        Download(
            f"{_CIFAR}cifar-100-binary.tar.gz",
            "datasets",
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    )

    @classmethod
    def read(cls, paths: Sequence[Path]) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
        """Read the binary version; of its coarse and fine labels, the fine ones."""
        return read_cifar(paths[0], train=("train.bin",), test="test.bin", label_bytes=2)


class Mnist(KerasDataset):
    """70,000 grey handwritten digits of 28x28, 10,000 of them test (LeCun et al., 1998)."""

    name: Literal["mnist"] = "mnist"
    available = tuple("0123456789")
    downloads = (
        Download(
            f"{_KERAS}mnist.npz",
            "datasets",
            "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        ),
    )

    @classmethod
    def read(cls, paths: Sequence[Path]) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
        """Read x_train, y_train, x_test and y_test of mnist.npz."""
        return read_mnist(paths[0])


class FashionMnist(KerasDataset):
    """70,000 grey images of clothes of 28x28, 10,000 of them test (Xiao et al., 2017)."""

    name: Literal["fashion_mnist"] = "fashion_mnist"
    available = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    # Keras checks no hash of these; the digests are those of the files that the authors published.
    downloads = (
        Download(
            f"{_KERAS}train-images-idx3-ubyte.gz",
            "datasets/fashion-mnist",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        Download(
            f"{_KERAS}train-labels-idx1-ubyte.gz",
            "datasets/fashion-mnist",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        Download(
            f"{_KERAS}t10k-images-idx3-ubyte.gz",
            "datasets/fashion-mnist",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        Download(
            f"{_KERAS}t10k-labels-idx1-ubyte.gz",
            "datasets/fashion-mnist",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    )

    @classmethod
    def read(cls, paths: Sequence[Path]) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
        """Read the four IDX files: images and labels of training, then of test."""
        train_images, train_labels, test_images, test_labels = map(read_idx, paths)
        return _joined((train_images, train_labels), (test_images, test_labels))


def read_cifar(
    path: Path, *, train: Sequence[str], test: str, label_bytes: int
) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
    """Read CIFAR's binary version: records of labels, the last the finest, and 3x32x32 pixels."""
    names = (*train, test)
    size = label_bytes + _CIFAR_PIXELS
    records = {}
    with archives.opened(path) as archive:
        for name, content in archive.members(lambda name: _file_name(name) in names, limit=1 << 30):
            if content is None:
                continue
            if not content or len(content) % size:
                raise GraftError(f"{path}: {name} is cut short; expected records of {size} bytes")
            records[_file_name(name)] = np.frombuffer(content, np.uint8).reshape(-1, size)
    if missing := [name for name in names if name not in records]:
        raise GraftError(f"{path} lacks {', '.join(missing)}; delete it, and graft downloads it")
    count = sum(map(len, records.values()))
    inputs = np.empty((count, 32, 32, 3), np.uint8)
    labels = np.empty(count, np.uint8)
    row = 0
    for name in names:
        batch = records.pop(name)
        rows = slice(row, row + len(batch))
        labels[rows] = batch[:, label_bytes - 1]
        inputs[rows] = batch[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        row += len(batch)
    return inputs, labels, np.arange(count) >= count - len(batch)


def read_mnist(path: Path) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
    """Read Keras's mnist.npz."""
    try:
        with np.load(path, allow_pickle=False) as file:
            train, test = (
                (file[f"x_{split}"], file[f"y_{split}"].astype(np.uint8, casting="same_kind"))
                for split in ("train", "test")
            )
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise GraftError(f"{path} is not Keras's mnist.npz ({error}); delete it") from None
    return _joined(train, test)


def read_idx(path: Path) -> Bytes:
    """Read a gzipped IDX file of bytes: two zeros, type 8, the rank, the shape, the values."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise GraftError(f"{path} is no gzip file, or is cut short ({error}); delete it") from None
    rank = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * rank
    shape = np.frombuffer(content[4:start], ">u4").tolist() if rank and len(content) > start else []
    if len(shape) != rank or not rank or len(content) != start + int(np.prod(shape)):
        raise GraftError(f"{path} is no IDX file of bytes, or is cut short; delete it")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _joined(
    train: tuple[Bytes, Bytes], test: tuple[Bytes, Bytes]
) -> tuple[Bytes, Bytes, npt.NDArray[np.bool_]]:
    for images, labels in (train, test):
        if images.shape != (len(labels), 28, 28):
            raise GraftError(
                f"images of shape {images.shape} for {len(labels)} labels; expected "
                f"({len(labels)}, 28, 28): delete the files, and graft downloads them"
            )
    inputs = np.concatenate([train[0], test[0]])[..., np.newaxis]
    labels = np.concatenate([train[1], test[1]])
    return inputs, labels, np.arange(len(labels)) >= len(train[1])


def _keras_home() -> Path:
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()


def _file_name(name: str) -> str:
    return name.rpartition("/")[2]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _network_timeout() -> Iterator[None]:
    """Give up on a silent server: Keras sets no limit of its own."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
