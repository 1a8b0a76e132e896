"""The default study's target and network, for what is measured inside one process."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras


def handwritten_digits() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the 1,797 handwritten digits, uint8 (n, 8, 8, 1), and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.uint8(images.reshape(-1, 8, 8, 1) * (255 / 16)), labels.astype(np.int32)


def labelled_digits(per_class: int = 10) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the first so many of each class."""
    images, labels = handwritten_digits()
    rows = np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in range(10)])
    return images[rows], labels[rows]


def source_model() -> "keras.Model":
    """Return the default study's network, at random weights, as a plain Keras model."""
    from graft.networks.small_cnn import SmallCNN

    return SmallCNN().build((8, 8, 1), 10, seed=0).model
