import numpy as np
import pytest
from pydantic import ValidationError

from graft.core.errors import GraftError
from graft.datasets.arrays import Arrays

IMAGES = np.arange(6 * 2 * 3, dtype=np.uint8).reshape(6, 2, 3)
LABELS = np.array([7, 3, 10, 7, 3, 10])


@pytest.fixture
def load(tmp_path):
    def loaded(classes=None, class_names=None, **arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        dataset = Arrays(path="own.npz", class_names=class_names)
        return dataset.load(tmp_path, classes, np.random.default_rng(0), tmp_path)

    return loaded


def test_grey_images_get_a_channel(load):
    examples = load(x=IMAGES, y=LABELS)
    assert examples.inputs.shape == (6, 2, 3, 1)
    assert np.array_equal(examples.inputs[..., 0], IMAGES)
    assert examples.is_test is None


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_kept(load, channels):
    assert load(x=np.zeros((6, 2, 3, channels), np.uint8), y=LABELS).inputs.shape[3] == channels


def test_integer_labels_are_sorted_as_numbers(load):
    examples = load(x=IMAGES, y=LABELS[:, np.newaxis])
    assert examples.class_names == ("3", "7", "10")
    assert examples.labels.tolist() == [1, 0, 2, 1, 0, 2]


@pytest.mark.parametrize("dtype", ["U3", "S3"])
def test_text_labels_are_the_names(load, dtype):
    examples = load(x=IMAGES, y=np.array(["cat", "ant", "cat"] * 2, dtype))
    assert examples.class_names == ("ant", "cat")
    assert examples.labels.tolist() == [1, 0, 1] * 2


def test_class_names_name_integers(load):
    examples = load(x=IMAGES, y=np.array([0, 1, 2] * 2), class_names=("zero", "one", "two"))
    assert examples.class_names == ("zero", "one", "two")
    assert examples.labels.tolist() == [0, 1, 2] * 2


def test_class_names_order_text(load):
    examples = load(x=IMAGES, y=np.array(["a", "b"] * 3), class_names=("b", "a"))
    assert examples.labels.tolist() == [1, 0] * 3


def test_train_and_test_arrays_become_the_split(load):
    examples = load(
        x_train=IMAGES[:4], y_train=[0, 1, 0, 1], x_test=IMAGES[4:], y_test=np.array([1, 0])
    )
    assert examples.is_test.tolist() == [False] * 4 + [True] * 2
    assert examples.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert np.array_equal(examples.inputs[..., 0], IMAGES)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 0.5, 1.0], np.float32), [0, 128, 255]),
        (np.array([0.0, 1.0, 255.0]), [0, 1, 255]),
        (np.array([False, True, True]), [0, 255, 255]),
        (np.array([0, 1, 1], np.int64), [0, 1, 1]),
        (np.array([0, 7, 255], np.int16), [0, 7, 255]),
    ],
    ids=["floats to 1", "whole floats", "booleans", "small integers", "wide integers"],
)
def test_values_become_bytes(load, values, expected):
    images = np.broadcast_to(values[:, np.newaxis, np.newaxis], (3, 2, 2))
    assert load(x=images, y=np.arange(3)).inputs[:, 0, 0, 0].tolist() == expected


def test_one_scale_holds_for_training_and_test(load):
    dark, bright = np.ones((2, 2, 2)), np.full((2, 2, 2), 200.0)
    examples = load(x_train=dark, y_train=[0, 1], x_test=bright, y_test=[0, 1])
    assert examples.inputs[:, 0, 0, 0].tolist() == [1, 1, 200, 200]


def of_value(value):
    return {"x": np.full((6, 2, 3), value), "y": LABELS}


WRONG = {
    "objects as images": ({"x": np.array([None] * 6), "y": LABELS}, "x holds Python objects"),
    "objects as labels": ({"x": IMAGES, "y": np.array([{}] * 6)}, "y holds Python objects"),
    "missing keys": ({"x": IMAGES, "labels": LABELS}, "holds labels, x; expected x and y, or"),
    "both layouts": (
        dict.fromkeys(("x", "y", "x_train", "y_train", "x_test", "y_test"), LABELS),
        "expected x and y, or",
    ),
    "two dimensions": ({"x": IMAGES[0], "y": LABELS}, r"shape \(2, 3\); expected \(n, height"),
    "two channels": ({"x": np.zeros((6, 2, 3, 2)), "y": LABELS}, "with 1 or 3 channels"),
    "no pixels": ({"x": np.zeros((6, 0, 3)), "y": LABELS}, "expected .n, height, width"),
    "text as images": ({"x": np.full((6, 2, 3), "a"), "y": LABELS}, "has type <U1; expected int"),
    "fewer labels": ({"x": IMAGES, "y": LABELS[:5]}, "6 images in x and 5 labels in y"),
    "empty": ({"x": IMAGES[:0], "y": LABELS[:0]}, "x is empty"),
    "one-hot labels": ({"x": IMAGES, "y": np.eye(6, dtype=int)}, "one-hot rows, the argmax"),
    "float labels": ({"x": IMAGES, "y": LABELS / 2}, "expected integer or text labels"),
    "NaN": (of_value(np.nan), "values from nan to nan; expected integers in 0..255"),
    "infinity": (of_value(np.inf), "values from inf to inf"),
    "negative": (of_value(-1.0), "values from -1 to -1"),
    "too large": (of_value(256), "values from 256 to 256"),
    "fractions above 1": (of_value(1.5), "images with fractions and values up to 1.5"),
    "two shapes": (
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :1], "y_test": LABELS},
        "expected one shape",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_arrays_are_refused(load, fault):
    arrays, message = WRONG[fault]
    with pytest.raises(GraftError, match=message):
        load(**arrays)


def test_one_nan_among_many_values_is_refused(load):
    images = np.zeros((2000, 2, 2))
    images[1500, 0, 0] = np.nan
    with pytest.raises(GraftError, match="values from nan to nan"):
        load(x=images, y=np.arange(2000) % 2)


@pytest.mark.parametrize("names", [("a",), ("a", "b", "c", "d")])
def test_class_names_that_do_not_fit_the_labels_are_refused(load, names):
    with pytest.raises(GraftError, match="labels 0, 1, 2; expected each of"):
        load(x=IMAGES, y=np.array([0, 1, 2] * 2), class_names=names)


@pytest.mark.parametrize("names", [(), ("a", "a")])
def test_repeated_class_names_are_refused(names):
    with pytest.raises(ValidationError, match="each once"):
        Arrays(path="own.npz", class_names=names)


def test_check_finds_what_labels_and_headers_show(tmp_path):
    np.savez(tmp_path / "own.npz", x=IMAGES, y=LABELS[:5])
    with pytest.raises(GraftError, match="6 images in x and 5 labels in y"):
        Arrays(path="own.npz").check(tmp_path, None)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4 cut short"])
def test_what_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(GraftError, match=r"is no usable \.npz file"):
        Arrays(path="own.npz").check(tmp_path, None)


def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path):
    np.savez(tmp_path / "own.npz", x=IMAGES, y=LABELS)
    content = (tmp_path / "own.npz").read_bytes()
    (tmp_path / "own.npz").write_bytes(content.replace(b"(6, 2, 3)", b"(9999,9,)"))
    with pytest.raises(GraftError, match=r"own\.npz"):
        Arrays(path="own.npz").check(tmp_path, None)


def test_a_missing_file_is_answered_with_what_to_do(tmp_path):
    with pytest.raises(GraftError, match=r"own\.npz is missing; put it there, .* `dvc add "):
        Arrays(path="own.npz").check(tmp_path, None)
