"""The article's experiment as the article has it, from one .npz file to test accuracy."""

import json
import sys

import numpy as np
from tensorflow.keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from tensorflow.keras.models import Sequential
from tensorflow.keras.utils import to_categorical

data = np.load(sys.argv[1])
epochs = int(sys.argv[2])

x_train = data["x_train"] / 255.0
x_test = data["x_test"] / 255.0
y_train = to_categorical(data["y_train"], num_classes=10)
y_test = to_categorical(data["y_test"], num_classes=10)


def network():
    return Sequential(
        [
            Conv2D(32, kernel_size=(3, 3), activation="relu", input_shape=(32, 32, 3)),
            MaxPooling2D(pool_size=(2, 2)),
            Flatten(),
            Dense(64, activation="relu"),
            Dense(10, activation="softmax"),
        ]
    )


def train(model):
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=epochs, batch_size=64, validation_split=0.2, verbose=0)


source_model = network()
train(source_model)

target_model = network()
target_model.set_weights(source_model.get_weights())
train(target_model)

loss, accuracy = target_model.evaluate(x_test, y_test, verbose=0)
print(json.dumps({"accuracy": accuracy}))
