"""Predictions for a folder of images as one would write it: load_model, Pillow, batches of 32."""

import csv
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

model = keras.models.load_model(sys.argv[1])
files = sorted(Path(sys.argv[2]).rglob("*.jpg"))
with Path("answers.csv").open("w", newline="") as output:
    writer = csv.writer(output)
    for start in range(0, len(files), 32):
        batch = files[start : start + 32]
        images = [np.asarray(Image.open(file).convert("RGB").resize((32, 32))) for file in batch]
        for file, row in zip(batch, model.predict(np.stack(images), verbose=0), strict=True):
            writer.writerow([file, row.argmax(), *row])
