"""StochNorm against BatchNorm worked out in NumPy."""

import json
import zipfile

import numpy as np
import pytest

from graft.core.artifacts import save_model
from graft.core.network import Network
from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.strategies.full import Full
from graft.training.loop import Recipe
from graft.training.stochastic_norm import with_stochastic_norm


@pytest.fixture
def one_norm(tensorflow):
    """A network that is one BatchNorm layer of 40 channels, with statistics of its own."""
    from keras import Input, Model, layers

    raw = Input((2, 2, 40))
    model = Model(raw, layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="a_bn")(raw))
    rng = np.random.default_rng(0)
    model.layers[1].set_weights([rng.uniform(0.5, 2, 40).astype(np.float32) for _ in range(4)])
    return model


@pytest.fixture
def inputs():
    return np.random.default_rng(1).normal(3, 2, (6, 2, 2, 40)).astype(np.float32)


def normalised(x, mean, variance, gamma, beta):
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def test_each_channel_takes_the_batchs_or_the_moving_statistics(tensorflow, one_norm, inputs):
    gamma, beta, mean, variance = one_norm.layers[1].get_weights()
    moving = normalised(inputs, mean, variance, gamma, beta)
    own = (inputs.mean(axis=(0, 1, 2)), inputs.var(axis=(0, 1, 2)))
    batch = normalised(inputs, *own, gamma, beta)
    seed = tensorflow.Variable([3, 4], trainable=False)
    outputs = with_stochastic_norm(one_norm, seed)(inputs, training=True).numpy()
    of_batch = np.isclose(outputs, batch, rtol=1e-4, atol=1e-4).all(axis=(0, 1, 2))
    of_moving = np.isclose(outputs, moving, rtol=1e-4, atol=1e-4).all(axis=(0, 1, 2))
    assert np.all(of_batch ^ of_moving)
    assert 8 <= of_batch.sum() <= 32

    _, _, mean_after, variance_after = one_norm.layers[1].get_weights()
    np.testing.assert_allclose(mean_after, 0.9 * mean + 0.1 * own[0], rtol=1e-4)
    np.testing.assert_allclose(variance_after, 0.9 * variance + 0.1 * own[1], rtol=1e-4)


def test_half_of_all_draws_are_the_batchs(tensorflow, one_norm, inputs):
    seed = tensorflow.Variable([0, 0], trainable=False)
    stochastic = with_stochastic_norm(one_norm, seed)
    start = one_norm.get_weights()
    moving = one_norm(inputs, training=False).numpy()
    shares = []
    for number in range(50):
        one_norm.set_weights(start)
        seed.assign([number, 0])
        outputs = stochastic(inputs, training=True).numpy()
        shares.append(np.mean(np.any(outputs != moving, axis=(0, 1, 2))))
    assert len(set(shares)) > 1
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)  # 2,000 draws: 4.5 deviations


def test_at_inference_it_is_plain_batch_norm(tensorflow, one_norm, inputs):
    stochastic = with_stochastic_norm(one_norm, tensorflow.Variable([0, 0]))
    plain = one_norm(inputs, training=False).numpy()
    assert np.array_equal(stochastic(inputs, training=False).numpy(), plain)


def test_layers_draw_for_themselves_and_frozen_ones_do_not_move(tensorflow, norm_network, images):
    stochastic = with_stochastic_norm(norm_network.outputs, tensorflow.Variable([0, 0]))
    for layer in norm_network.batch_norms:
        layer.trainable = False
    before = norm_network.weights()
    outputs = stochastic(images, training=True)[1].numpy()
    np.testing.assert_allclose(outputs, norm_network.outputs(images, training=False)[1], rtol=1e-5)
    assert all(np.array_equal(v, before[p]) for p, v in norm_network.weights().items())


def train(network, images, labels, seed):
    recipe = Recipe(steps=3, batch_size=8, learning_rate=0.01)
    method = Method(strategy=Full(), batch_norm="stochastic")
    return Finetuner(network, method, recipe).train(images, labels, np.random.default_rng(seed))


def test_training_draws_from_the_generator_alone(two_block_network, images, labels):
    start = two_block_network.weights()
    results = []
    for seed in (0, 0, 1):
        two_block_network.assign(start)
        results.append(train(two_block_network, images, labels, seed).weights)
    first, again, other = results
    assert all(np.array_equal(value, again[path]) for path, value in first.items())
    assert any(np.any(value != other[path]) for path, value in first.items())
    assert first.keys() == start.keys()


def test_the_network_stays_plain_keras(tmp_path, two_block_network, images, labels):
    save_model(tmp_path / "before.keras", two_block_network.model, "abc")
    train(two_block_network, images, labels, 0)
    save_model(tmp_path / "after.keras", two_block_network.model, "abc")
    configs = []
    for name in ("before", "after"):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as archive:
            configs.append(json.loads(archive.read("config.json")))
    assert configs[0] == configs[1]
    assert "stochastic" not in json.dumps(configs[1])
    assert len(Network(two_block_network.model).batch_norms) == 1
