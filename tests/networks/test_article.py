import math

import pytest

from graft.core.network import block_of
from graft.networks.article import Article


@pytest.fixture
def network(tensorflow):
    return Article().build((32, 32, 3), 10, seed=0)


def test_the_layers_are_those_of_the_article(network):
    assert [(layer.name, type(layer).__name__) for layer in network.model.layers] == [
        ("raw", "InputLayer"),
        ("adapter_scale", "Rescaling"),
        ("block1_conv", "Conv2D"),
        ("block1_pool", "MaxPooling2D"),
        ("block2_flatten", "Flatten"),
        ("block2_dense", "Dense"),
        ("features", "Identity"),
        ("head", "Dense"),
        ("probabilities", "Softmax"),
    ]
    convolution, dense = (network.model.get_layer(n) for n in ("block1_conv", "block2_dense"))
    assert (convolution.filters, convolution.kernel_size, convolution.padding) == (
        32,
        (3, 3),
        "valid",
    )
    assert convolution.activation.__name__ == dense.activation.__name__ == "relu"
    assert network.model.get_layer("block1_pool").output.shape == (None, 15, 15, 32)


def test_blocks_have_as_many_parameters_as_by_hand(network):
    counts = dict.fromkeys(network.blocks, 0)
    for path, variable in network.tensors.items():
        counts[block_of(path)] += math.prod(variable.shape)
    assert counts == {
        "block1": 3 * 3 * 3 * 32 + 32,
        "block2": 15 * 15 * 32 * 64 + 64,
        "head": 64 * 10 + 10,
    }
    assert sum(counts.values()) == 462_410
