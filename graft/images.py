"""Image files to arrays: the one place where image files are decoded."""

import io
import os
import struct
import warnings
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from graft.errors import GraftError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp")
MAX_PIXELS = 100_000_000

File: TypeAlias = tuple[str, bytes]
Pixels: TypeAlias = npt.NDArray[np.uint8]
_Decoded: TypeAlias = tuple[Pixels, dict[int, str]]

# What Pillow's readers raise on files that are broken in one way or another.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)

# Starting processes takes half a second: the first batches are decoded without them.
_BATCHES_BEFORE_WORKERS = 4
_MAX_BATCH_FILES = 256
_MAX_BATCH_BYTES = 8 << 20
_MAX_WORKERS = 16


def decode(
    source: Path | bytes, height: int, width: int, channels: int, name: str | None = None
) -> Pixels:
    """Return the first frame of one image file, upright and resized.

    Transparency is laid on white. Resizing uses Pillow's bilinear filter, whose support grows
    with the reduction: every pixel of the file counts, so there is no aliasing. Colour becomes
    grey by Pillow's luma (ITU-R 601-2); grey becomes RGB by repetition; 16 bits become 8 by
    rounding.

    Parameters
    ----------
    source
        A file, or the bytes of one, in one of `FORMATS`.
    channels
        1 for grey, 3 for RGB.
    name
        What to call the file in an error message; a path names itself.

    Returns
    -------
    uint8, (height, width, channels)

    Raises
    ------
    GraftError
        When the file is missing, broken, cut short, in another format or above `MAX_PIXELS`.
    """
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), height, width, channels, name or "the image")
    try:
        with source.open("rb") as file:
            return _decode(file, height, width, channels, name or str(source))
    except OSError as error:
        raise GraftError(f"{name or source} cannot be read: {error.strerror}") from None


def decode_all(
    files: Iterable[File], height: int, width: int, channels: int, workers: int | None = None
) -> Iterator[tuple[str, Pixels | GraftError]]:
    """Decode many files on all processors, and yield them in the order in which they came.

    Small files cost more Python than C, so that threads would wait for one another: this uses
    processes. `files` is read only a few batches ahead; memory does not grow with its length.

    Parameters
    ----------
    files
        Names and contents.
    workers
        The number of processes; None for one per processor, 0 to decode in this one.

    Yields
    ------
    The name, and the pixels as from `decode` or the error that it raised.
    """
    batches = _batches(files, height * width * channels)
    size = (height, width, channels)
    workers = min(len(os.sched_getaffinity(0)), _MAX_WORKERS) if workers is None else workers
    few = islice(batches, _BATCHES_BEFORE_WORKERS) if workers > 1 else batches
    for batch in few:
        yield from _named(batch, _decode_batch([content for _, content in batch], size))
    for batch in batches:
        yield from _in_processes(batch, batches, size, workers)


def _in_processes(
    first: list[File],
    others: Iterator[list[File]],
    size: tuple[int, int, int],
    workers: int,
) -> Iterator[tuple[str, Pixels | GraftError]]:
    # Not "fork": a process with threads (TensorFlow's, say) must not be forked.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))
    pending: deque[tuple[list[File], Future[_Decoded]]] = deque()
    try:
        batch: list[File] | None = first
        while batch or pending:
            if batch:
                pending.append((batch, pool.submit(_decode_batch, [b for _, b in batch], size)))
                batch = next(others, None)
            if pending and (batch is None or len(pending) > workers + 2):
                done, future = pending.popleft()
                yield from _named(done, future.result())
    except BrokenProcessPool:
        raise GraftError(
            "a process that decoded images was killed, most likely for want of memory; free some "
            "memory or make the images smaller, then try again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(files: Iterable[File], decoded_size: int) -> Iterator[list[File]]:
    most = max(1, min(_MAX_BATCH_FILES, _MAX_BATCH_BYTES // decoded_size))
    batch: list[File] = []
    size = 0
    for name, content in files:
        batch.append((name, content))
        size += len(content)
        if len(batch) == most or size > _MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _named(batch: list[File], decoded: _Decoded) -> Iterator[tuple[str, Pixels | GraftError]]:
    pixels, faults = decoded
    for position, (name, _) in enumerate(batch):
        fault = faults.get(position)
        yield name, pixels[position] if fault is None else GraftError(f"{name} {fault}")


def _decode_batch(contents: list[bytes], size: tuple[int, int, int]) -> _Decoded:
    # One array for all, because it travels between processes faster than many.
    pixels = np.zeros((len(contents), *size), np.uint8)
    faults: dict[int, str] = {}
    with _quiet():
        for position, content in enumerate(contents):
            try:
                pixels[position] = _pixels(io.BytesIO(content), *size)
            except GraftError as error:
                faults[position] = str(error)
    return pixels, faults


def _decode(file: BinaryIO, height: int, width: int, channels: int, name: str) -> Pixels:
    try:
        with _quiet():
            return _pixels(file, height, width, channels).copy()
    except GraftError as error:
        raise GraftError(f"{name} {error}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    # Pillow warns of what does not concern the pixels (EXIF, palettes) or is refused here anyway.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pixels(file: BinaryIO, height: int, width: int, channels: int) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=FORMATS) as image:
            return _prepared(image, height, width, channels)
    except UnidentifiedImageError:
        raise GraftError(f"is no image that graft reads; {_EXPECTED}") from None
    except Image.DecompressionBombError:
        raise GraftError(_TOO_LARGE) from None
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise GraftError(f"is broken or cut short ({reason}); replace or remove it") from None


def _prepared(image: "Image.Image", height: int, width: int, channels: int) -> Pixels:
    from PIL import Image, ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise GraftError(_TOO_LARGE)
    # A JPEG decoder can reduce by 2, 4 or 8 for free; twice the size is left to the filter.
    enough = 2 * max(height, width)
    if min(image.size) >= 2 * enough:
        image.draft(None, (enough, enough))
    image.load()
    if "exif" in image.info or "xmp" in image.info or "XML:com.adobe.xmp" in image.info:
        ImageOps.exif_transpose(image, in_place=True)
    flat = _flattened(image, "RGB" if channels == 3 else "L")
    if flat.size != (width, height):
        flat = flat.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(flat, np.uint8).reshape(height, width, channels)


def _flattened(image: "Image.Image", mode: str) -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        deep = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((deep * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image if image.mode == mode else image.convert(mode)


_EXPECTED = f"expected one of: {', '.join(FORMATS)}"
_TOO_LARGE = f"has more than {MAX_PIXELS:,} pixels; make it smaller or remove it"
