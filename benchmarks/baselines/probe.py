"""A probe as one would write it: freeze the body, fit the head, for each cell."""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np

model = keras.models.load_model(sys.argv[1], compile=False)
given = np.load(sys.argv[2])
goals = np.load(Path(sys.argv[2]).with_name("goals.npy"))
images, labels, held_out = given["images"], given["labels"], given["held_out"]
cells = [given[name] for name in given.files if name.startswith("cell")]

for layer in model.layers:
    layer.trainable = layer.name == "head"
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
fresh = [np.zeros_like(weight) for weight in model.get_layer("head").get_weights()]
state = [np.array(variable) for variable in model.optimizer.variables]

took = np.zeros(2)
accuracies = []
for rows, goal in zip(cells, goals, strict=True):
    model.get_layer("head").set_weights(fresh)
    for variable, value in zip(model.optimizer.variables, state, strict=False):
        variable.assign(value)
    accuracy, steps = 0.0, 0
    while accuracy < goal - 0.005 and steps < 2000:
        start = np.array([time.perf_counter(), time.process_time()])
        epochs = 10
        model.fit(images[rows], labels[rows], batch_size=16, epochs=epochs, verbose=0)
        took += np.array([time.perf_counter(), time.process_time()]) - start
        steps += epochs * -(-len(rows) // 16)
        predicted = model.predict(images[held_out], verbose=0).argmax(axis=1)
        accuracy = float(np.mean(predicted == labels[held_out]))
    accuracies.append(accuracy)
print(json.dumps({"wall": took[0], "processor": took[1], "accuracies": accuracies}))
