"""Byte-stable writing and safe reading of what the stages exchange.

Every writer writes beside its destination and renames at the end, so that a file is either
whole or absent. Equal contents give equal bytes: no times, no addresses, no dictionary order.
"""

import csv
import errno
import hashlib
import io
import json
import math
import mmap
import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graft.core import model_files
from graft.core.errors import GraftError

if TYPE_CHECKING:
    import keras

# Smaller arrays may lie in memory whole.
_LARGE = 16 << 20
_SLICE = 2 << 20
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

# What Keras raises on a model whose parts do not fit together.
_KERAS_REFUSES = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    OSError,
    zipfile.BadZipFile,
    UserWarning,
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block succeeds.

    The name is always the same, so that the next run replaces what a killed one has left, and
    ends in ``.partial``, which git and DVC ignore.

    Raises
    ------
    GraftError
        When the disk is full, or does not let itself be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` on success.

    Its name is as that of `replacing`, and so are the errors.
    """
    temporary = path.with_name(f".{path.name}.partial")
    old = path.with_name(f".{path.name}.old.partial")
    with _written(path, only=False):
        for left_by_a_kill in (temporary, old):
            if left_by_a_kill.exists():
                shutil.rmtree(left_by_a_kill)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            # Removing takes a while: a kill meanwhile must not leave half a folder at `path`.
            if path.exists():
                path.replace(old)
            temporary.replace(path)
        finally:
            for folder in (temporary, old):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """Yield an empty folder at `path`, and remove it when the block ends.

    A name that ends in ``.partial`` is ignored by git and DVC. What a killed run left there is
    removed first.
    """
    if path.exists():
        shutil.rmtree(path)
    with _written(path):
        path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _written(path: Path, *, only: bool = True) -> Iterator[None]:
    """Turn what the disk refuses while `path` is written into a `GraftError` that names it.

    Parameters
    ----------
    only
        Whether nothing else happens meanwhile that an error without a file's name could be of.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str):
            ours = Path(error.filename).absolute().is_relative_to(path.parent.absolute())
        else:
            ours = only or error.errno in _DISK_REFUSES
        if not ours:
            raise
        cause = error.strerror or str(error).splitlines()[0]
        raise GraftError(
            f"{path} cannot be written: {cause}; make room or give leave to write there, "
            "and run again"
        ) from None


def keep_only(folder: Path, names: Collection[str]) -> None:
    """Remove from `folder` everything but `names`, such as ``scratch`` or ``SOURCE/METHOD``.

    DVC leaves the outputs of a stage that params.yaml no longer names. They would count in the
    hash of the folder, and dvc.lock would differ from that of a fresh clone. DVC's cache still
    has them, should the stage come back.

    Parameters
    ----------
    names
        Paths below `folder`, without the suffix that a file has.
    """
    kept = [folder / name for name in names]
    for path in sorted(folder.rglob("*"), reverse=True):
        stem = path.with_suffix("")
        if not any(stem == k or k in path.parents or stem in k.parents for k in kept):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def save_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def save_json(path: Path, value: object) -> None:
    """Write indented JSON, keys in the order given; NaN is refused."""
    save_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def load_json(path: Path) -> Any:
    """Read a JSON file that a stage wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GraftError(f"{path} is missing; `dvc repro` makes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise GraftError(f"{path} is not valid JSON ({error}); `dvc repro` remakes it") from None


def save_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with a header; floats keep all their digits, None is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    save_text(path, buffer.getvalue())


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write one array as .npy."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.asarray(array, order="C"), allow_pickle=False)


class RowWriter:
    """A .npy file that is written slice by slice; the number of rows is known at the end.

    Use it as a context manager. Unlike a memory-mapped array, it leaves no page of the file in the
    process's memory.

    Attributes
    ----------
    rows
        How many there are so far.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        self.rows = 0
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._file = path.open("wb", buffering=1 << 20)
        self._write_header()

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        # NumPy leaves room in the header for the first axis to grow.
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def write(self, rows: npt.NDArray[Any]) -> None:
        """Append rows of the shape and type given."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.rows += len(rows)

    def _write_header(self) -> None:
        shape = (self.rows, *self._shape)
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def slices(count: int, array: npt.NDArray[Any]) -> Iterator[slice]:
    """Part `count` rows like those of an array into slices of 2 MiB, or of one longer row."""
    row_bytes = array.dtype.itemsize * math.prod(array.shape[1:])
    step = max(1, _SLICE // max(1, row_bytes))
    for start in range(0, count, step):
        yield slice(start, start + step)


class MappedArray(np.memmap[Any, Any]):
    """A memory-mapped array that stays out of memory where it is large.

    What is selected from one above `_LARGE` bytes is a copy, and no page of the file stays mapped:
    a process that works through the array would end up with all of it in its memory.
    """

    def __getitem__(self, key: Any) -> Any:
        """Return what `key` selects."""
        if self._mmap is None or self.nbytes <= _LARGE:  # type: ignore[attr-defined]
            return super().__getitem__(key)
        by_row = self.flags.c_contiguous and self.ndim > 1
        if by_row and isinstance(key, np.ndarray) and key.ndim == 1:
            return self._rows(np.arange(len(self))[key])
        selected = super().__getitem__(key)
        if isinstance(selected, np.ndarray):
            selected = np.array(selected)
            self._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
        return selected

    def _rows(self, numbers: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        # Linux maps the 15 pages around one that is read from: scattered rows soon map them all.
        rows = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        places = rows.view(np.uint8).reshape(len(numbers), self.strides[0])
        assert self.filename is not None, "it was opened by its name"
        with Path(self.filename).open("rb", buffering=0) as file:
            for place, number in zip(places, numbers.tolist(), strict=True):
                os.preadv(file.fileno(), [place.data], self.offset + number * place.nbytes)
        return rows


def load_array(path: Path) -> npt.NDArray[Any]:
    """Memory-map a .npy file for reading; object arrays are refused."""
    try:
        return np.lib.format.open_memmap(path, mode="r").view(MappedArray)
    except FileNotFoundError:
        raise GraftError(f"{path} is missing; `dvc repro` makes it") from None
    except (OSError, ValueError) as error:
        raise GraftError(f"{path} is no usable .npy file ({error}); remake it") from None


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named arrays as one uncompressed .npz whose bytes depend on its contents alone."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH), buffer.getvalue())


def load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an uncompressed .npz file into memory; object arrays are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise ValueError("its arrays are compressed")
            return {
                name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()
            }
    except FileNotFoundError:
        raise GraftError(f"{path} is missing; `dvc repro` makes it") from None
    except model_files.BROKEN_ZIP as error:
        raise GraftError(f"{path} is no usable .npz file ({error}); remake it") from None


def _array(content: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("expected .npy 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    # NumPy makes room for what the header declares before it reads.
    if math.prod(shape) * dtype.itemsize > len(content):
        raise ValueError(f"cut short: expected shape {shape}")
    file.seek(0)
    array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def array_sha256(array: npt.NDArray[Any], rows: int = 4096) -> str:
    """Return the SHA-256 of an array's bytes in C order, read `rows` rows at a time."""
    digest = hashlib.sha256()
    for start in range(0, max(len(array), 1) if array.ndim else 1, rows):
        part = array[start : start + rows] if array.ndim else array
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def save_model(path: Path, model: "keras.Model", class_names: Sequence[str]) -> None:
    """Write a .keras file with equal bytes for equal models.

    Keras puts a date, file times and memory addresses into its archive; all three are made
    canonical. The names of the classes are added to `metadata.json` under ``class_names``,
    where anyone can read them with zipfile and json alone.
    """
    with replacing(path) as temporary, tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "model.keras"
        model.save(raw)
        with zipfile.ZipFile(raw) as source, zipfile.ZipFile(temporary, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    metadata = json.loads(content)
                    del metadata["date_saved"]
                    content = _canonical({**metadata, "class_names": list(class_names)})
                elif name == "config.json":
                    content = _canonical(_without_addresses(json.loads(content)))
                target.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), content)


def load_model(path: Path) -> "keras.Model":
    """Load a .keras file without running any code that it may contain.

    Raises
    ------
    GraftError
        When it is missing, broken, or holds what graft's networks do not consist of.
    """
    model_files.check(path)
    import keras
    import tensorflow as tf

    try:
        with warnings.catch_warnings():
            # Keras warns of weights that it did not find, and goes on with random ones.
            warnings.simplefilter("error", UserWarning)
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (*_KERAS_REFUSES, tf.errors.OpError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise GraftError(f"{path} is no usable Keras model: {first_line}") from None
    model_files.check_activations(path, model)
    return model


def load_class_names(path: Path) -> tuple[str, ...]:
    """Read the names of the classes from a .keras file, without importing Keras."""
    with model_files.opened(path) as archive:
        content = archive.read(model_files.METADATA)
    try:
        names = json.loads(content)["class_names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise GraftError(
            f"{path} is no model of graft's: expected a .keras file whose metadata.json "
            "names its classes; `dvc repro` writes one"
        )
    return tuple(names)


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_addresses(v) for k, v in value.items() if k != "shared_object_id"}
    if isinstance(value, list):
        return [_without_addresses(item) for item in value]
    return value
