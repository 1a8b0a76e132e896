"""Random flips and crops of a stack of images, in NumPy, before it goes into the network."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.settings import Settings


class Augmentation(Settings):
    """What is varied at random each time an image is shown.

    Attributes
    ----------
    flip
        Mirror left and right, with probability one half.
    crop
        Pad by so many pixels of zeros on each side, then cut the original size at random.
    """

    flip: bool = False
    crop: int = Field(default=0, ge=0, le=64)

    def apply(self, images: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
        """Return varied copies of `images`, (n, height, width, channels)."""
        if self.crop:
            images = _cropped(images, self.crop, rng)
        if self.flip:
            mirrored = rng.random(len(images)) < 0.5
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        return images


def _cropped(images: npt.NDArray[Any], pixels: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    top, left = rng.integers(2 * pixels + 1, size=(2, count, 1))
    rows = (top + np.arange(height))[:, :, None]
    columns = (left + np.arange(width))[:, None, :]
    return np.asarray(padded[np.arange(count)[:, None, None], rows, columns])
