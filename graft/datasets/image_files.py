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
_Source: TypeAlias = bytes | BinaryIO

# Markers of the JPEG format (ITU-T T.81, table B.1): baseline, extended and progressive frames, and
# what may stand beside one without a say in its pixels' colours or orientation: tables of Huffman
# codes and of quantization, the restart interval, JFIF's header and a comment.
_START_OF_FRAME = (0xC0, 0xC1, 0xC2)
_START_OF_SCAN = 0xDA
_PLAIN = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)
_SMALL = 256 * 256  # pixels
# A JPEG decoder can reduce by 2, 4 or 8 for free; twice the size asked for is left to the filter.
_REDUCED_FROM = 4

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
        return _decode(source, height, width, channels, name or "the image")
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
                pixels[place] = _pixels(content, height, width, channels)
            except GraftError as error:
                faults[place] = str(error)
    return pixels, faults


def _decode(source: _Source, height: int, width: int, channels: int, name: str) -> Pixels:
    try:
        with _quiet():
            return _pixels(source, height, width, channels).copy()
    except GraftError as error:
        raise GraftError(f"{name} {error}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    # Pillow warns of what does not concern the pixels (EXIF, palettes) or is refused here anyway.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pixels(source: _Source, height: int, width: int, channels: int) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, bytes):
        plain = _plain_jpeg(source, _REDUCED_FROM * max(height, width))
        if plain is not None:
            return _resized(plain, height, width, channels)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
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


def _plain_jpeg(content: bytes, reduced_from: int) -> "Image.Image | None":
    """Decode a small JPEG file of nothing but RGB pixels; return None for any other file.

    `Image.open` reads the headers in Python, which takes as long as decoding 32x32 pixels. What is
    broken is left to it: it says why.

    Parameters
    ----------
    reduced_from
        From this height and width on, an image is reduced while it is decoded.
    """
    from PIL import Image

    size = _size_of_plain_jpeg(content)
    if size is None or min(size) >= reduced_from or not 0 < size[0] * size[1] <= _SMALL:
        return None
    try:
        return Image.frombytes("RGB", size, content, "jpeg", "RGB", "")
    except ValueError:
        return None


def _size_of_plain_jpeg(content: bytes) -> tuple[int, int] | None:
    """Return width and height where its headers say nothing that bears on the pixels otherwise."""
    if not (content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")):
        return None
    size = None
    place = 2
    try:
        while content[place] == 0xFF:
            marker = content[place + 1]
            if marker == _START_OF_SCAN:
                return size
            if marker in _START_OF_FRAME:
                bits, height, width, components = struct.unpack_from(">BHHB", content, place + 4)
                if size or (bits, components) != (8, 3):
                    return None
                size = width, height
            elif marker not in _PLAIN:
                return None
            place += 2 + int.from_bytes(content[place + 2 : place + 4])
    except (IndexError, struct.error):
        pass
    return None


def _prepared(image: "Image.Image", height: int, width: int, channels: int) -> Pixels:
    from PIL import ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise GraftError(_TOO_LARGE)
    size = max(height, width)
    if min(image.size) >= _REDUCED_FROM * size:
        image.draft(None, (2 * size, 2 * size))
    image.load()
    if "exif" in image.info or "xmp" in image.info or "XML:com.adobe.xmp" in image.info:
        ImageOps.exif_transpose(image, in_place=True)
    return _resized(image, height, width, channels)


def _resized(image: "Image.Image", height: int, width: int, channels: int) -> Pixels:
    from PIL import Image

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
