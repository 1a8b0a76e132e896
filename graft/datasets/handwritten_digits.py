"""The UCI handwritten digits that scikit-learn ships: no network, no download."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from graft.core.imports import lean_imports
from graft.core.prepared import Examples
from graft.datasets.base import Dataset, chosen_classes, select

_DIGITS = tuple("0123456789")


class HandwrittenDigits(Dataset):
    """1,797 grey images of 8x8 pixels: counts of ink in 4x4 blocks of 32x32 bitmaps.

    E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository. The counts 0..16 become 0..255.
    """

    name: Literal["handwritten-digits"] = "handwritten-digits"

    def check(self, raw: Path, classes: Sequence[str] | None) -> None:
        """Check the names of the classes: the images come with scikit-learn."""
        chosen_classes(_DIGITS, classes)

    def load(
        self,
        raw: Path,
        classes: Sequence[str] | None,
        rng: np.random.Generator,
        workspace: Path,
    ) -> Examples:
        """Return the images in scikit-learn's order."""
        with lean_imports():
            from sklearn.datasets import load_digits

        digits = load_digits()
        inputs = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
        return select(Examples(inputs, digits.target.astype(np.int32), _DIGITS), classes)
