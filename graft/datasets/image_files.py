"""Image files to arrays: the one place where image files are decoded."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from graft.core.errors import GraftError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp")
MAX_PIXELS = 100_000_000

Pixels: TypeAlias = npt.NDArray[np.uint8]

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


def decode_batch(
    contents: Sequence[bytes], height: int, width: int, channels: int
) -> tuple[Pixels, dict[int, str]]:
    """Decode several files as `decode` does.

    Returns
    -------
    uint8, (len(contents), height, width, channels)
        Black where a file could not be decoded.
    dict
        What is wrong with the files that could not be decoded, by their place.
    """
    pixels = np.zeros((len(contents), height, width, channels), np.uint8)
    faults: dict[int, str] = {}
    with _quiet():
        for place, content in enumerate(contents):
            try:
                pixels[place] = _pixels(io.BytesIO(content), height, width, channels)
            except GraftError as error:
                faults[place] = str(error)
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
