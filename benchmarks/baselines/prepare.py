"""Images in a zip to arrays as one would write it: Pillow, a list, np.stack."""

import io
import sys
import zipfile

import numpy as np
from PIL import Image

images = {"train": [], "test": []}
labels = {"train": [], "test": []}
with zipfile.ZipFile(sys.argv[1]) as archive:
    names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
    classes = sorted({name.split("/")[-2] for name in names})
    for name in names:
        _, split, label, _ = name.split("/")
        image = Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((32, 32))
        images[split].append(np.asarray(image))
        labels[split].append(classes.index(label))
for split in ("train", "test"):
    np.save(f"x_{split}.npy", np.stack(images[split]))
    np.save(f"y_{split}.npy", np.array(labels[split]))
