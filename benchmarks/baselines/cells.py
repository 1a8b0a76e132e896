"""Cells as one would write them: a fresh model, compiled and fitted, for each.

The data set repeats and each cell is one epoch, which spares `fit` its costs per epoch.
"""

import json
import sys
import time

import keras
import tensorflow as tf

from benchmarks.digits import labelled_digits, source_model

cells, steps = map(int, sys.argv[1:])
images, labels = labelled_digits()
source = source_model()


def cell():
    model = keras.models.clone_model(source)
    model.set_weights(source.get_weights())
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=0.001, warmup_steps=20)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    data = data.repeat().shuffle(len(images)).batch(16)
    model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0)
    model.predict(images, verbose=0)


cell()
wall, processor = time.perf_counter(), time.process_time()
for _ in range(cells):
    cell()
took = (time.perf_counter() - wall, time.process_time() - processor)
print(json.dumps({"wall": took[0] / cells, "processor": took[1] / cells}))
