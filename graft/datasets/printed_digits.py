"""Printed characters, rendered from the fonts that matplotlib ships and then distorted."""

import functools
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from graft.core.errors import GraftError
from graft.core.prepared import Examples
from graft.datasets.base import Dataset, chosen_classes

Floats: TypeAlias = npt.NDArray[np.float64]
Range: TypeAlias = tuple[float, float]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1)]

FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSans-BoldOblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSansMono-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
    "DejaVuSerif-BoldItalic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
    "STIXGeneralBolIta.ttf",
    "cmb10.ttf",
    "cmr10.ttf",
    "cmss10.ttf",
    "cmti10.ttf",
    "cmtt10.ttf",
)

_WORKING_SIZE = 32  # of the UCI digits' bitmaps, before their 4x4 blocks were counted
_GLYPH = 64  # the longer side of a glyph in its distance field
_MARGIN = 16
_NOISE = 16  # grid points of the elastic noise along one side
_MISSING = "\U0010ffff"  # no font has it: it shows the mark for a missing character


class PrintedDigits(Dataset):
    """Grey images of printed characters, white ink on black, one class per character.

    The characters look as handwriting could: the stroke width is drawn, then an affine and an
    elastic distortion (Simard, Steinkraus and Platt, 2003, Best Practices for Convolutional
    Neural Networks Applied to Visual Document Analysis). Without the elastic one, what is learned
    hardly transfers to handwriting. Images are rendered at 32x32 or a little above and reduced by
    block means, as the UCI digits were by block counts.

    A font that lacks a character is left out for that character. The images of a character do
    not depend on which others are chosen.

    Attributes
    ----------
    characters
        The classes, each once, in their order.
    per_class
        Images per character, shared evenly among the fonts.
    image_size
        Height and width in pixels.
    rotation, shear, translation
        The largest angle in degrees, slant, and shift as a fraction of the image.
    scale
        The range of the longer side of the ink, as a fraction of the image.
    aspect
        The range of what the width is multiplied by besides: handwriting is narrower than print.
    stroke_width
        The range of the mean stroke width, as a fraction of the image.
    elastic_strength, elastic_smoothness
        The standard deviation of the displacement, and the distance over which it varies, as
        fractions of the image.
    """

    name: Literal["printed-digits"] = "printed-digits"
    characters: str = "0123456789"
    per_class: int = Field(default=1200, ge=1)
    image_size: int = Field(default=8, ge=4, le=256)
    rotation: float = Field(default=10.0, ge=0, le=180)
    shear: Fraction = 0.2
    scale: Range = (0.9, 1.1)
    aspect: Range = (0.7, 1.0)
    translation: Fraction = 0.03
    stroke_width: Range = (0.1, 0.18)
    elastic_strength: Fraction = 0.05
    elastic_smoothness: float = Field(default=0.15, ge=0.05, le=1)

    @field_validator("characters")
    @classmethod
    def _distinct(cls, characters: str) -> str:
        if not characters or len(set(characters)) < len(characters):
            raise ValueError("expected at least one character, each once")
        if not all(character.isprintable() and character.strip() for character in characters):
            raise ValueError("expected characters with ink: no spaces and no control characters")
        return characters

    @field_validator("scale", "aspect", "stroke_width")
    @classmethod
    def _ordered(cls, given: Range) -> Range:
        if not 0 < given[0] <= given[1] <= 2:
            raise ValueError("expected [low, high] with 0 < low <= high <= 2")
        return given

    def check(self, raw: Path, classes: Sequence[str] | None) -> None:
        """Check the names of the classes and that the fonts are there."""
        chosen_classes(self.characters, classes)
        _font_folder()

    def load(
        self,
        raw: Path,
        classes: Sequence[str] | None,
        rng: np.random.Generator,
        workspace: Path,
    ) -> Examples:
        """Draw the images of one character after the other."""
        names = chosen_classes(self.characters, classes)
        streams = dict(zip(self.characters, rng.spawn(len(self.characters)), strict=True))
        inputs = np.concatenate([self._draw(name, streams[name]) for name in names])
        labels = np.repeat(np.arange(len(names), dtype=np.int32), self.per_class)
        return Examples(inputs, labels, names)

    def _draw(self, character: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        glyphs = [glyph for font in FONTS if (glyph := _glyph(font, character)) is not None]
        if not glyphs:
            raise GraftError(
                f"characters: none of the fonts has {character!r}; leave it out of `characters`"
            )
        fonts = rng.permutation(len(glyphs))[np.arange(self.per_class) % len(glyphs)]
        images = np.empty((self.per_class, self.image_size, self.image_size, 1), np.uint8)
        for number, glyph in enumerate(glyphs):
            rows = fonts == number
            images[rows, ..., 0] = self._distorted(glyph, int(rows.sum()), rng)
        return images

    def _distorted(
        self, glyph: "_Glyph", count: int, rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Return `count` images of one glyph, each distorted in its own way."""
        from scipy.ndimage import map_coordinates

        block = math.ceil(_WORKING_SIZE / self.image_size)
        size = block * self.image_size
        scales = rng.uniform(*self.scale, (count, 1)).repeat(2, axis=1)
        scales[:, 1] *= rng.uniform(*self.aspect, count)
        places = _grid(size) - rng.uniform(-self.translation, self.translation, (count, 2, 1))
        places = np.linalg.inv(self._matrices(scales, rng)) @ places
        places += self.elastic_strength * _elastic(count, size, self.elastic_smoothness, rng)
        pixels = places.transpose(1, 0, 2) * _GLYPH + (_MARGIN + (_GLYPH - 1) / 2)
        distance = map_coordinates(glyph.distance, pixels, order=1, mode="nearest")
        # Distances grow with the glyph. No stroke loses more than half of its width.
        scale = np.sqrt(scales.prod(axis=1, keepdims=True))
        width = rng.uniform(*self.stroke_width, (count, 1))
        half_widths = glyph.stroke_width / 2 * scale
        growth = np.maximum(width / 2 - half_widths, -half_widths / 2)
        ink = np.clip((distance * scale + growth) * size + 0.5, 0, 1)
        blocks = ink.reshape(count, self.image_size, block, self.image_size, block)
        means: Floats = blocks.mean(axis=(2, 4))
        return np.rint(means * 255).astype(np.uint8)

    def _matrices(self, scales: Floats, rng: np.random.Generator) -> Floats:
        """Return rotation @ shear @ scale, (n, 2, 2), on (row, column)."""
        count = len(scales)
        angle = np.radians(rng.uniform(-self.rotation, self.rotation, count))
        shear = rng.uniform(-self.shear, self.shear, count)
        one, zero = np.ones(count), np.zeros(count)
        rotations = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shears = np.array([[one, zero], [shear, one]])
        matrices: Floats = rotations.transpose(2, 0, 1) @ shears.transpose(2, 0, 1)
        return matrices * scales[:, np.newaxis, :]


class _Glyph:
    """A character of one font, centred, its longer side 1.

    `distance` is the signed distance to the edge of the ink, positive inside: adding to it makes
    every stroke wider by the same amount.
    """

    def __init__(self, ink: npt.NDArray[np.bool_]) -> None:
        from scipy.ndimage import distance_transform_edt

        inside = np.maximum(distance_transform_edt(ink) - 0.5, 0)
        outside = np.maximum(distance_transform_edt(~ink) - 0.5, 0)
        self.distance: Floats = (inside - outside) / _GLYPH
        # A stroke's area is its width times its length, and its two edges have that length each.
        edge = np.sum(np.abs(inside - outside) < 1) / 2
        self.stroke_width = float(2 * ink.sum() / edge / _GLYPH)


def _glyph(font: str, character: str) -> _Glyph | None:
    """Return the glyph, or None if the font lacks the character."""
    from PIL import Image

    ink = _ink(font, character)
    missing = _ink(font, _MISSING)
    if not ink.size or (ink.shape == missing.shape and np.array_equal(ink, missing)):
        return None
    factor = _GLYPH / max(ink.shape)
    height, width = (max(1, round(side * factor)) for side in ink.shape)
    resized = Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR)
    canvas = np.zeros((_GLYPH + 2 * _MARGIN,) * 2, np.uint8)
    top, left = (len(canvas) - height) // 2, (len(canvas) - width) // 2
    canvas[top : top + height, left : left + width] = np.asarray(resized)
    return _Glyph(canvas >= 128)


@functools.cache
def _ink(font: str, character: str) -> npt.NDArray[np.uint8]:
    """Render a character and cut out its ink; the array is empty if there is none."""
    from PIL import Image, ImageDraw, ImageFont

    # The basic layout, because the other one depends on a library that may be absent.
    face = ImageFont.truetype(
        _font_folder() / font, 2 * _GLYPH, layout_engine=ImageFont.Layout.BASIC
    )
    left, top, right, bottom = face.getbbox(character)
    canvas = Image.new("L", (max(1, math.ceil(right - left)), max(1, math.ceil(bottom - top))))
    ImageDraw.Draw(canvas).text((-left, -top), character, fill=255, font=face)
    box = canvas.getbbox()
    return np.asarray(canvas.crop(box)) if box else np.zeros((0, 0), np.uint8)


@functools.cache
def _font_folder() -> Path:
    package = find_spec("matplotlib")  # found, not imported: that would take a second
    if package is None or package.origin is None:
        raise GraftError("matplotlib, whose fonts are rendered, is not installed; install it")
    folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    missing = [font for font in FONTS if not (folder / font).is_file()]
    if missing:
        raise GraftError(
            f"{folder} lacks {', '.join(missing)}; install a matplotlib that ships them (3.10)"
        )
    return folder


def _grid(size: int) -> Floats:
    """Return the centres of the pixels, (2, size * size), the image from -1/2 to 1/2."""
    centres = (np.arange(size) + 0.5) / size - 0.5
    return np.stack(np.meshgrid(centres, centres, indexing="ij")).reshape(2, -1)


def _elastic(count: int, size: int, smoothness: float, rng: np.random.Generator) -> Floats:
    """Return smooth random displacements of unit variance, (count, 2, size * size)."""
    pixels = (np.arange(size) + 0.5) / size
    points = (np.arange(_NOISE) + 0.5) / _NOISE
    weights = np.exp(-(((pixels[:, np.newaxis] - points) / smoothness) ** 2) / 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    noise = rng.standard_normal((count, 2, _NOISE, _NOISE))
    return (weights @ noise @ weights.T).reshape(count, 2, size * size)
