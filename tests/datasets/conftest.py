"""Small files in the formats of the real data sets, made by the tests themselves."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from graft.datasets import keras_datasets


def png(value, size=(4, 4)):
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def write_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_tar(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def cifar_batch(labels, label_bytes, rng):
    records = rng.integers(0, 256, (len(labels), label_bytes + 3072), np.uint8)
    records[:, label_bytes - 1] = labels
    return records.tobytes()


def idx(array):
    header = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


@pytest.fixture
def keras_cache(tmp_path, monkeypatch):
    """Small files in Keras's cache, under the names and with the hashes that graft expects."""
    home = tmp_path / "keras"
    datasets = home / "datasets"
    rng = np.random.default_rng(0)
    ten, hundred = np.arange(10), np.arange(100)
    train = {
        f"cifar-10-batches-bin/data_batch_{number}.bin": cifar_batch(ten, 1, rng)
        for number in range(1, 6)
    }
    test = {"cifar-10-batches-bin/test_batch.bin": cifar_batch(ten[::-1], 1, rng)}
    datasets.mkdir(parents=True)
    # The archive's order is not that of the batches.
    write_tar(datasets / "cifar-10-binary.tar.gz", {**test, **train}, "w:gz")
    files = {
        "cifar-100-binary/train.bin": cifar_batch(hundred, 2, rng),
        "cifar-100-binary/test.bin": cifar_batch(hundred, 2, rng),
    }
    write_tar(datasets / "cifar-100-binary.tar.gz", files, "w:gz")
    images = rng.integers(0, 256, (20, 28, 28), np.uint8)
    labels = np.tile(ten, 2).astype(np.uint8)
    np.savez(
        datasets / "mnist.npz",
        x_train=images,
        y_train=labels,
        x_test=images[:10],
        y_test=labels[:10],
    )
    files = {
        "train-images-idx3-ubyte.gz": idx(images),
        "train-labels-idx1-ubyte.gz": idx(labels),
        "t10k-images-idx3-ubyte.gz": idx(images[:10]),
        "t10k-labels-idx1-ubyte.gz": idx(labels[:10]),
    }
    write_folder(datasets / "fashion-mnist", files)
    monkeypatch.setenv("KERAS_HOME", str(home))
    for kind in (
        keras_datasets.Cifar10,
        keras_datasets.Cifar100,
        keras_datasets.Mnist,
        keras_datasets.FashionMnist,
    ):
        monkeypatch.setattr(kind, "downloads", tuple(map(_as_written, kind.downloads)))
    return datasets


def _as_written(download):
    return replace(download, sha256=hashlib.sha256(download.path.read_bytes()).hexdigest())
