"""Load every image of a zip as the stage `prepare` does, into arrays in the working directory.

python -m benchmarks.load_images ZIP
"""

import sys
from pathlib import Path

import numpy as np

from graft.core.artifacts import save_array
from graft.datasets.images import Images


def main() -> None:
    """Decode the zip named on the command line; `Images.load` writes the pixels itself."""
    path, here = Path(sys.argv[1]), Path.cwd()
    images = Images(path=path.name, image_size=32)
    found = images.load(path.parent, None, np.random.default_rng(0), here)
    save_array(here / "labels.npy", found.labels)


if __name__ == "__main__":
    main()
