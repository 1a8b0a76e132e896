"""Predictions of an exported model for image files, a batch at a time."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from graft.compute.runtime import start_tensorflow
from graft.core.artifacts import load_class_names, load_model
from graft.core.errors import GraftError
from graft.datasets.archives import MAX_FILE_BYTES
from graft.datasets.image_files import SUFFIXES, Pixels
from graft.datasets.image_workers import decode_all


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes
    ----------
    probabilities
        float32, (classes,).
    """

    file: str
    probabilities: npt.NDArray[np.float32]

    def ranking(self, top: int | None = None) -> list[int]:
        """Return the `top` classes, or all, the most likely first; ties in the model's order."""
        order = np.argsort(-self.probabilities, kind="stable")
        return [int(label) for label in order[:top]]


Result: TypeAlias = tuple[str, Prediction | GraftError]


class Classifier:
    """A model that `graft` exported: raw pixels in, class probabilities out.

    Raises
    ------
    GraftError
        When the file is missing, or holds no model that takes images.
    """

    def __init__(self, path: Path) -> None:
        self.class_names = load_class_names(path)  # first, because TensorFlow takes seconds
        start_tensorflow()
        import tensorflow as tf

        model = load_model(path)
        _check_shapes(path, model.input_shape, model.output_shape, len(self.class_names))
        self._shape = tuple(model.input_shape[1:])
        self._forward = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, *self._shape), tf.uint8)],
            autograph=False,
        )

    def predict(self, files: Iterable[str], batch_size: int) -> Iterator[Result]:
        """Yield each file with its prediction, or with the reason why there is none.

        Memory does not grow with the number of files.
        """
        results = decoded(files, self._shape)
        while batch := list(islice(results, batch_size)):
            images = [pixels for _, pixels in batch if not isinstance(pixels, GraftError)]
            rows = iter(self._probabilities(images))
            for file, pixels in batch:
                if isinstance(pixels, GraftError):
                    yield file, pixels
                else:
                    yield file, Prediction(file, next(rows))

    def _probabilities(self, images: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        if not images:
            return np.empty((0, len(self.class_names)), np.float32)
        return np.asarray(self._forward(np.stack(images)).numpy(), np.float32)


def _check_shapes(path: Path, given: object, returned: object, classes: int) -> None:
    """Check that a model takes images and returns as many numbers as it names classes."""
    match given:
        case (_, int(), int(), 1 | 3) if returned == (None, classes):
            return
    raise GraftError(
        f"{path} takes inputs of shape {given} and returns {returned}; expected "
        f"(None, height, width, 1 or 3) and (None, {classes}), for it names {classes} classes; "
        "`dvc repro` makes such a model"
    )


def find_images(paths: Iterable[Path]) -> list[str]:
    """Return the image files to read: files as named, and those under folders, sorted.

    Under a folder, files count that are called like images; hidden files and folders do not, and
    links to folders are not followed.

    Raises
    ------
    GraftError
        When a path does not exist, a folder holds no images or cannot be read.
    """
    return [file for path in paths for file in _images_of(path)]


def _images_of(path: Path) -> list[str]:
    if path.is_file():
        return [str(path)]
    if not path.exists():
        raise GraftError(f"{path} is missing; expected an image file or a folder of them")
    if not path.is_dir():
        raise GraftError(f"{path} is neither a file nor a folder; save the image to a file first")
    images = sorted(_images_under(path))
    if not images:
        raise GraftError(f"{path} holds no images; expected files called {', '.join(SUFFIXES)}")
    return images


def _images_under(top: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise GraftError(f"{error.filename} cannot be read: {error.strerror}") from None

    for folder, subfolders, files in os.walk(top, onerror=refuse):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield str(Path(folder, name))


def decoded(
    files: Iterable[str], shape: tuple[int, ...]
) -> Iterator[tuple[str, Pixels | GraftError]]:
    """Yield each file with its pixels, (height, width, channels), or with what is wrong with it."""
    unread: dict[str, GraftError] = {}

    def contents() -> Iterator[tuple[str, bytes]]:
        for file in files:
            content = _content(Path(file))
            if isinstance(content, GraftError):
                # The decoder knows pairs of name and content only: the reason takes its turn below.
                unread[file] = content
                content = b""
            yield file, content

    height, width, channels = shape
    for file, pixels in decode_all(contents(), height, width, channels):
        yield file, unread.pop(file, pixels)


def _content(file: Path) -> bytes | GraftError:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return GraftError(
                f"{file} is above {MAX_FILE_BYTES >> 20} MiB; make it smaller or leave it out"
            )
        return file.read_bytes()
    except OSError as error:
        return GraftError(f"{file} cannot be read: {error.strerror}")
