import sys
from types import SimpleNamespace

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.datasets import keras_datasets
from graft.datasets.keras_datasets import (
    Cifar10,
    Cifar100,
    FashionMnist,
    Mnist,
    read_cifar,
    read_idx,
    read_mnist,
)

from .conftest import idx, write_tar

CIFAR10 = {"train": ("a.bin",), "test": "b.bin", "label_bytes": 1}


def load(dataset, classes=None):
    return dataset.load(None, classes, np.random.default_rng(0), None)


@pytest.mark.parametrize(
    ("dataset", "shape", "is_test", "classes"),
    [
        (Cifar10(), (60, 32, 32, 3), 10, 10),
        (Cifar100(), (200, 32, 32, 3), 100, 100),
        (Mnist(), (30, 28, 28, 1), 10, 10),
        (FashionMnist(), (30, 28, 28, 1), 10, 10),
    ],
)
@pytest.mark.usefixtures("keras_cache")
def test_shapes_and_splits(dataset, shape, is_test, classes):
    examples = load(dataset)
    assert examples.inputs.shape == shape
    assert examples.is_test.sum() == is_test
    assert examples.is_test[-is_test:].all()
    assert len(set(examples.class_names)) == classes


@pytest.mark.usefixtures("keras_cache")
def test_cifar_batches_are_in_their_order_whatever_that_of_the_archive():
    labels = load(Cifar10()).labels
    assert labels.tolist() == [*range(10)] * 5 + [*range(9, -1, -1)]


def test_class_names_are_the_official_ones():
    assert Cifar10.available[3] == "cat"
    assert Cifar100.available == tuple(sorted(Cifar100.available))
    assert FashionMnist.available[9] == "Ankle boot"


def test_a_cifar_record_is_labels_then_planes(tmp_path):
    pixels = np.arange(3 * 32 * 32) // 1024 * 100
    record = bytes([5, 7, *pixels.tolist()])
    write_tar(tmp_path / "c.tar.gz", {"d/a.bin": record, "d/b.bin": record * 2}, "w:gz")
    inputs, labels, is_test = read_cifar(
        tmp_path / "c.tar.gz", train=("a.bin",), test="b.bin", label_bytes=2
    )
    assert labels.tolist() == [7, 7, 7]
    assert is_test.tolist() == [False, True, True]
    assert (inputs == (0, 100, 200)).all()


def test_a_cifar_batch_cut_short_is_refused(tmp_path):
    write_tar(tmp_path / "c.tar.gz", {"a.bin": b"\0" * 3000, "b.bin": b"\0" * 3073}, "w:gz")
    with pytest.raises(GraftError, match=r"a\.bin is cut short; expected records of 3073 bytes"):
        read_cifar(tmp_path / "c.tar.gz", **CIFAR10)


def test_a_cifar_archive_without_a_batch_is_refused(tmp_path):
    write_tar(tmp_path / "c.tar.gz", {"a.bin": b"\0" * 3073}, "w:gz")
    with pytest.raises(GraftError, match=r"lacks b\.bin"):
        read_cifar(tmp_path / "c.tar.gz", **CIFAR10)


@pytest.mark.parametrize(
    "arrays", [{"x_train": [0]}, {key: [None] for key in ("x_train", "y_train", "x_test")}]
)
def test_a_strange_mnist_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "mnist.npz", **{key: np.array(value) for key, value in arrays.items()})
    with pytest.raises(GraftError, match=r"is not Keras's mnist\.npz"):
        read_mnist(tmp_path / "mnist.npz")


def test_mnist_of_another_shape_is_refused(tmp_path):
    images, labels = np.zeros((2, 9, 9), np.uint8), np.zeros(2, np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with pytest.raises(GraftError, match=r"images of shape \(2, 9, 9\) for 2 labels"):
        read_mnist(tmp_path / "mnist.npz")


def test_idx_keeps_its_shape(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a.gz").write_bytes(idx(array))
    assert np.array_equal(read_idx(tmp_path / "a.gz"), array)


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", idx(np.zeros((2, 3), np.uint8))[:-9]],
    ids=["empty", "no gzip", "cut off"],
)
def test_idx_that_is_no_gzip_is_refused(tmp_path, content):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(GraftError, match=r"a\.gz is no"):
        read_idx(tmp_path / "a.gz")


def test_idx_of_another_length_is_refused(tmp_path):
    import gzip

    content = gzip.decompress(idx(np.zeros((2, 3), np.uint8)))
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:-1]))
    with pytest.raises(GraftError, match=r"a\.gz is no IDX file of bytes, or is cut short"):
        read_idx(tmp_path / "a.gz")


def test_a_file_with_another_hash_is_not_read(keras_cache):
    (keras_cache / "mnist.npz").write_bytes(b"something else")
    with pytest.raises(GraftError, match=r"mnist\.npz is not the file that was published"):
        load(Mnist())


def test_a_label_beyond_the_classes_is_refused(keras_cache, monkeypatch):
    monkeypatch.setattr(Mnist, "available", tuple("01234"))
    with pytest.raises(GraftError, match=r"label 9; expected 0\.\.4"):
        load(Mnist())


def test_a_file_that_is_there_is_read_without_keras(keras_cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    assert len(load(Mnist()).labels) == 30


def test_check_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "keras", None)
    for dataset in (Cifar10(), Cifar100(), Mnist(), FashionMnist()):
        dataset.check(tmp_path, dataset.available[:2])
    assert list(tmp_path.iterdir()) == []


def fake_keras(get_file):
    return SimpleNamespace(utils=SimpleNamespace(get_file=get_file))


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    def get_file(*_, **__):
        raise Exception("URL fetch failure: no route")  # noqa: TRY002 (as Keras does)

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "keras", fake_keras(get_file))
    with pytest.raises(GraftError) as caught:
        load(Cifar10())
    message = str(caught.value)
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz cannot be downloaded" in message
    assert "no route" in message
    assert f"put the file at {tmp_path / 'datasets' / 'cifar-10-binary.tar.gz'} by hand" in message
    assert "`images` or `arrays`" in message


def test_keras_downloads_into_its_cache_with_the_hash_checked(tmp_path, monkeypatch, keras_cache):
    wanted = Mnist.downloads[0]
    content = (keras_cache / "mnist.npz").read_bytes()
    received = {}

    def get_file(name, origin, *, file_hash, cache_dir, cache_subdir):
        received.update(name=name, origin=origin, file_hash=file_hash)
        (tmp_path / "new" / cache_subdir / name).write_bytes(content)
        assert cache_dir == str(tmp_path / "new")
        assert keras_datasets.socket.getdefaulttimeout() == 30

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "new"))
    monkeypatch.setitem(sys.modules, "keras", fake_keras(get_file))
    assert len(load(Mnist()).labels) == 30
    assert received == {"name": "mnist.npz", "origin": wanted.url, "file_hash": wanted.sha256}
    assert keras_datasets.socket.getdefaulttimeout() is None


def test_files_keras_verifies_have_the_hash_that_keras_expects():
    from importlib.util import find_spec
    from pathlib import Path

    keras = Path(find_spec("keras").origin).parent
    assert Mnist.downloads[0].sha256 in (keras / "src/datasets/mnist.py").read_text()
