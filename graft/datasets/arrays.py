"""Arrays of the user's own: a .npz file of images and labels."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from graft.core.artifacts import slices
from graft.core.errors import GraftError
from graft.core.prepared import Examples
from graft.datasets.base import Dataset, chosen_classes, select
from graft.datasets.raw_files import RawPath, found

Array: TypeAlias = npt.NDArray[Any]

_LAYOUTS = (("x", "y"), ("x_train", "y_train", "x_test", "y_test"))
_EXPECTED_KEYS = "expected x and y, or x_train, y_train, x_test and y_test"
_EXPECTED_VALUES = "expected integers in 0..255, or floats in 0..1 or whole and in 0..255"


class Arrays(Dataset):
    """Images and labels from one .npz file, which is never unpickled.

    Images are (n, height, width), or with 1 or 3 channels at the end: integers in 0..255, floats
    in 0..1, which are scaled to 0..255 and rounded, or floats that are whole numbers in 0..255.
    One scale holds for all images of the file; floats of 0 and 1 alone count as 0..1. Labels are
    integers or strings, (n,) or (n, 1). The labels in their order are the names of the classes,
    unless `class_names` says otherwise.

    Attributes
    ----------
    path
        The file, relative to data/raw.
    class_names
        For integer labels, the names of 0, 1, 2, ...; for strings, their order.
    max_unpacked_bytes
        The most that its arrays may unpack to, all together.
    """

    name: Literal["arrays"] = "arrays"
    path: RawPath
    class_names: tuple[str, ...] | None = None
    max_unpacked_bytes: int = Field(default=4 << 30, ge=1)

    @field_validator("class_names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (not names or len(set(names)) < len(names)):
            raise ValueError("expected at least one name, each once")
        return names

    def check(self, raw: Path, classes: Sequence[str] | None) -> None:
        """Read the labels, and of the images their shape alone."""
        with _opened(found(raw, self.path), self.max_unpacked_bytes) as file:
            for x, y in file.pairs():
                _check_shape(file.where(x), *file.header(x))
                _check_length(file, x, file.header(x)[0], y, len(_flat(file, y)))
            names, _ = self._labels(file)
        chosen_classes(names, classes)

    def load(
        self,
        raw: Path,
        classes: Sequence[str] | None,
        rng: np.random.Generator,
        workspace: Path,
    ) -> Examples:
        """Return the images in the order of the file, training before test."""
        with _opened(found(raw, self.path), self.max_unpacked_bytes) as file:
            names, labels = self._labels(file)
            parts = []
            for x, y in file.pairs():
                _check_shape(file.where(x), *file.header(x))
                part = file.array(x)
                _check_length(file, x, part.shape, y, len(_flat(file, y)))
                parts.append(part if part.ndim == 4 else part[..., np.newaxis])
            if len({part.shape[1:] for part in parts}) > 1:
                shapes = " and ".join(str(part.shape[1:]) for part in parts)
                raise GraftError(f"{file.path}: images of shapes {shapes}; expected one shape")
            inputs = _as_bytes(parts, file.path)
        is_test = None
        if len(parts) == 2:
            is_test = np.arange(len(inputs)) >= len(parts[0])
        return select(Examples(inputs, labels, names, is_test), classes)

    def _labels(self, file: "_File") -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
        """Return the names of the classes, and the labels as places among them."""
        received = np.concatenate([_flat(file, y) for _, y in file.pairs()])
        values, places = np.unique(received, return_inverse=True)
        found_names = [str(value) for value in values]
        if self.class_names is None:
            return tuple(found_names), places.astype(np.int32)
        expected = self.class_names
        if received.dtype.kind != "U":
            expected = tuple(str(place) for place in range(len(self.class_names)))
        if sorted(found_names) != sorted(expected):
            raise GraftError(
                f"{file.path}: labels {_few(found_names)}; expected each of {_few(expected)} at "
                "least once and no other, as class_names says"
            )
        mapping = np.array([expected.index(name) for name in found_names], np.int32)
        return self.class_names, mapping[places]


class _File:
    """An open .npz file with one of the two sets of keys."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        keys = {name.removesuffix(".npy") for name in archive.namelist()}
        layouts = [layout for layout in _LAYOUTS if keys >= set(layout)]
        if len(layouts) != 1:
            raise GraftError(
                f"{path} holds {', '.join(sorted(keys)) or 'nothing'}; {_EXPECTED_KEYS}"
            )
        self._layout = layouts[0]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the keys of images and labels that belong together, training first."""
        return tuple(zip(self._layout[::2], self._layout[1::2], strict=True))

    def where(self, key: str) -> str:
        return f"{self.path}: {key}"

    def header(self, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return the shape and type of an array without reading it."""
        with self._archive.open(f"{key}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                raise GraftError(f"{self.where(key)} is .npy {version}; expected 1.0 or 2.0")
            shape, _, dtype = read(file)
        self._refuse_objects(key, dtype)
        size = self._archive.getinfo(f"{key}.npy").file_size
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > size:
            raise GraftError(f"{self.where(key)} is cut short: expected shape {shape}")
        return shape, dtype

    def array(self, key: str) -> Array:
        """Read one array; its header is checked before room is made for it."""
        self.header(key)
        with self._archive.open(f"{key}.npy") as file:
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
        return array

    def _refuse_objects(self, key: str, dtype: np.dtype[Any]) -> None:
        if dtype.hasobject:
            raise GraftError(
                f"{self.where(key)} holds Python objects, which graft does not unpickle; save "
                "numbers or strings"
            )


@contextmanager
def _opened(path: Path, limit: int) -> Iterator[_File]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            if unpacked > limit:
                raise GraftError(
                    f"{path} unpacks to {unpacked:,} bytes, more than {limit:,}; if that is right, "
                    "raise max_unpacked_bytes"
                )
            yield _File(path, archive)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise GraftError(
            f"{path} is no usable .npz file ({error}); write it with numpy.savez"
        ) from None


def _check_shape(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    is_grey = len(shape) == 3
    is_image = is_grey or (len(shape) == 4 and shape[3] in (1, 3))
    if not is_image or 0 in shape[1:3]:
        raise GraftError(
            f"{where} has shape {shape}; expected (n, height, width), or that with 1 or 3 channels "
            "at the end"
        )
    if dtype.kind not in "buif":
        raise GraftError(f"{where} has type {dtype}; {_EXPECTED_VALUES}")


def _check_length(
    file: _File, x: str, shape: tuple[int, ...], y: str, number_of_labels: int
) -> None:
    if shape[0] != number_of_labels:
        raise GraftError(
            f"{file.path}: {shape[0]} images in {x} and {number_of_labels} labels in {y}; "
            "expected as many of the one as of the other"
        )
    if not number_of_labels:
        raise GraftError(f"{file.where(x)} is empty; expected at least one image")


def _flat(file: _File, key: str) -> Array:
    """Read labels as (n,), integers or text."""
    labels = file.array(key)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise GraftError(
            f"{file.where(key)} has type {labels.dtype} and shape {labels.shape}; expected integer "
            "or text labels of shape (n,) or (n, 1), one class each (of one-hot rows, the argmax)"
        )
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels


def _as_bytes(parts: Sequence[Array], path: Path) -> npt.NDArray[np.uint8]:
    """Return all images as one uint8 array, after one look at all values for their scale."""
    factor = _factor(parts, path)
    inputs = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), np.uint8)
    row = 0
    for rows in _slices(parts):
        inputs[row : row + len(rows)] = np.rint(rows * factor) if factor != 1 else rows
        row += len(rows)
    return inputs


def _factor(parts: Sequence[Array], path: Path) -> float:
    low = float(np.min([rows.min() for rows in _slices(parts)]))  # NaN, if any value is
    high = float(np.max([rows.max() for rows in _slices(parts)]))
    is_whole = all(part.dtype.kind in "bui" for part in parts)
    is_binary = all(part.dtype.kind == "b" for part in parts)
    if low >= 0 and high <= 1 and (is_binary or not is_whole):
        return 255
    if not (low >= 0 and high <= 255):
        raise GraftError(f"{path}: images with values from {low:g} to {high:g}; {_EXPECTED_VALUES}")
    if not is_whole and any(bool((rows % 1).any()) for rows in _slices(parts)):
        raise GraftError(
            f"{path}: images with fractions and values up to {high:g}; {_EXPECTED_VALUES}"
        )
    return 1


def _slices(parts: Sequence[Array]) -> Iterator[Array]:
    for part in parts:
        for rows in slices(len(part), part):
            yield part[rows]


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return shown if len(names) <= 12 else f"{shown}, ... ({len(names)} in all)"
