import math

import numpy as np
import pytest

from graft.core.network import block_of
from graft.networks.resnet import ResNet

# Per channel BatchNorm has a scale, a shift, a moving mean and a moving variance.
NORM = 4


def test_blocks_have_as_many_tensors_as_by_hand(tensorflow):
    network = ResNet().build((32, 32, 3), 10, seed=0)
    counts = dict.fromkeys(network.blocks, 0)
    for path, variable in network.tensors.items():
        counts[block_of(path)] += math.prod(variable.shape)
    assert counts == {
        "stem": 9 * 3 * 16 + NORM * 16,
        "block1": 2 * (9 * 16 * 16 + NORM * 16),
        "block2": 9 * 16 * 32 + 9 * 32 * 32 + 16 * 32 + 3 * NORM * 32,
        "block3": 9 * 32 * 64 + 9 * 64 * 64 + 32 * 64 + 3 * NORM * 64,
        "head": 64 * 10 + 10,
    }
    assert sum(counts.values()) == 78_714


def test_blocks_two_and_three_halve_the_image(tensorflow):
    model = ResNet(width=2).build((32, 32, 3), 10, seed=0).model
    shapes = {n: model.get_layer(f"block{n}_add").output.shape[1:] for n in (1, 2, 3)}
    assert shapes == {1: (32, 32, 2), 2: (16, 16, 4), 3: (8, 8, 8)}
    assert model.get_layer("features").output.shape == (None, 8)


def test_every_convolution_is_followed_by_a_batch_norm_of_short_memory(norm_network):
    layers = norm_network.model.layers
    convolutions = [layer for layer in layers if type(layer).__name__ == "Conv2D"]
    assert len(convolutions) == len(norm_network.batch_norms) == 9
    assert not any(layer.use_bias for layer in convolutions)
    assert {(norm.momentum, norm.epsilon) for norm in norm_network.batch_norms} == {(0.9, 1e-5)}
    for layer in convolutions:
        name = layer.name.replace("conv", "bn")
        assert norm_network.model.get_layer(name).input is layer.output


def same(images, kernel, strides):
    """Convolve as TensorFlow pads for SAME: the odd row and column go to the end."""
    size, count = kernel.shape[0], images.shape[1]
    total = max((-(-count // strides) - 1) * strides + size - count, 0)
    pad = (total // 2, total - total // 2)
    padded = np.pad(images, ((0, 0), pad, pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return np.einsum("nxycij,ijcf->nxyf", windows[:, ::strides, ::strides], kernel)


class ByHand:
    """The network in training mode in NumPy, noting each BatchNorm's batch statistics."""

    def __init__(self, weights):
        self.weights = weights
        self.statistics = {}

    def normed(self, images, name, strides=1):
        y = same(images, self.weights[f"{name}/kernel"].astype(np.float64), strides)
        norm = name.replace("_conv", "_bn")
        mean, variance = y.mean(axis=(0, 1, 2)), y.var(axis=(0, 1, 2))
        self.statistics[f"{norm}/moving_mean"] = mean
        self.statistics[f"{norm}/moving_variance"] = variance
        y = (y - mean) / np.sqrt(variance + 1e-5)
        return y * self.weights[f"{norm}/gamma"] + self.weights[f"{norm}/beta"]

    def run(self, images):
        x = np.maximum(self.normed(images / 255.0, "stem_conv1"), 0)
        for block, strides in (("block1", 1), ("block2", 2), ("block3", 2)):
            y = np.maximum(self.normed(x, f"{block}_conv1", strides), 0)
            y = self.normed(y, f"{block}_conv2")
            shortcut = x if block == "block1" else self.normed(x, f"{block}_convshortcut", strides)
            x = np.maximum(shortcut + y, 0)
        return self.statistics


def test_recomputed_statistics_are_those_of_the_inputs(norm_network, images):
    rng = np.random.default_rng(0)
    scales = {
        path: rng.uniform(0.5, 1.5, variable.shape).astype(np.float32)
        for path, variable in norm_network.tensors.items()
        if "_bn" in path
    }
    norm_network.assign(scales)
    before = norm_network.weights()
    norm_network.recompute_statistics(images)
    after = norm_network.weights()
    expected = ByHand(before).run(images)
    assert expected.keys() == after.keys() - norm_network.parameters.keys()
    for path, value in after.items():
        if path in expected:
            np.testing.assert_allclose(value, expected[path], rtol=2e-4, atol=2e-5, err_msg=path)
        else:
            assert value.tobytes() == before[path].tobytes(), path
    assert {norm.momentum for norm in norm_network.batch_norms} == {0.9}


def test_recomputing_takes_1024_evenly_spaced_inputs(norm_network, monkeypatch):
    seen = []
    outputs = norm_network.outputs
    monkeypatch.setitem(
        norm_network.__dict__,
        "outputs",
        lambda inputs, training: seen.append(inputs) or outputs(inputs[:8], training=training),
    )
    inputs = np.zeros((3069, 8, 8, 1), np.uint8)
    inputs[:, 0, 0, 0] = np.arange(3069) // 16
    norm_network.recompute_statistics(inputs)
    (given,) = seen
    assert given.shape == (1024, 8, 8, 1)
    # 3068 / 1023 = 2.999: every third one, up to the last.
    expected = (np.arange(1024) * 3068 / 1023).astype(int) // 16
    assert given[:, 0, 0, 0].tolist() == expected.tolist()


def test_an_image_too_small_to_halve_twice_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        ResNet(image_size=4)
