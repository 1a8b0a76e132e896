import math

from graft.core.network import block_of
from graft.networks.small_cnn import SmallCNN


def test_blocks_have_as_many_parameters_as_by_hand(tensorflow):
    network = SmallCNN().build((8, 8, 1), 10, seed=0)
    counts = dict.fromkeys(network.blocks, 0)
    for path, variable in network.tensors.items():
        counts[block_of(path)] += math.prod(variable.shape)
    assert counts == {
        "block1": (9 * 1 * 32 + 32) + (9 * 32 * 32 + 32),
        "block2": (9 * 32 * 64 + 64) + (9 * 64 * 64 + 64),
        "block3": 2 * 2 * 64 * 128 + 128,
        "head": 128 * 10 + 10,
    }
    assert sum(counts.values()) == 99_178


def test_pooling_halves_the_image_twice(tensorflow):
    model = SmallCNN(width=3).build((8, 8, 1), 10, seed=0).model
    assert model.get_layer("block1_pool").output.shape == (None, 4, 4, 3)
    assert model.get_layer("block2_pool").output.shape == (None, 2, 2, 6)
    assert model.get_layer("features").output.shape == (None, 12)
