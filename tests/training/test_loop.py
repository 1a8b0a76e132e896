import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from graft.core.errors import GraftError
from graft.penalties.l2 import L2
from graft.strategies.base import Phase
from graft.training.augmentation import Augmentation
from graft.training.loop import Recipe, TrainingLoop, example_order
from graft.training.schedules import rates

ROOT = Path(__file__).parents[2]


def everything(network, rate=1.0, share=1.0):
    return Phase(dict.fromkeys(network.blocks, rate), share)


def seeded():
    return np.random.default_rng(0)


def moved(before, after):
    """Return the paths of the tensors that are not the same to the bit."""
    return {path for path, value in after.items() if value.tobytes() != before[path].tobytes()}


# The order of the examples


def test_one_random_order_of_all_examples_follows_another():
    order = example_order(5, steps=6, batch_size=4, rng=seeded())
    assert (order.shape, order.size) == ((6, 4), 24)
    passes = [order.ravel()[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in passes)
    assert len({tuple(one) for one in passes}) > 1


@pytest.mark.parametrize(
    ("count", "steps", "batch_size"),
    [(5, 6, 4), (3, 4, 16), (1, 3, 2), (10, 3, 2), (7, 7, 1)],
    ids=str,
)
def test_examples_are_shown_equally_often_give_or_take_one(count, steps, batch_size):
    order = example_order(count, steps, batch_size, seeded())
    assert order.shape == (steps, batch_size)
    shown = np.bincount(order.ravel(), minlength=count)
    assert shown.max() - shown.min() <= 1


def test_the_order_comes_from_the_generator():
    assert np.array_equal(example_order(9, 5, 4, seeded()), example_order(9, 5, 4, seeded()))
    other = example_order(9, 5, 4, np.random.default_rng(1))
    assert not np.array_equal(example_order(9, 5, 4, seeded()), other)


# Softmax regression, redone in NumPy


@pytest.fixture(scope="module")
def tiny():
    """Ten images of 4x4 pixels of three classes."""
    rng = np.random.default_rng(5)
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    return rng.integers(0, 256, (10, 4, 4, 1), np.uint8), labels


def by_hand(network, tiny, recipe, strength=0.0):
    """Return kernel, bias and the objective before each step, of the same steps in float64."""
    images, labels = tiny
    weights = [network.weights()[f"head/{p}"].astype(np.float64) for p in ("kernel", "bias")]
    order = example_order(len(images), recipe.steps, recipe.batch_size, seeded())
    rate = recipe.learning_rate * rates(recipe.schedule, recipe.steps, recipe.warmup_steps)
    state = [np.zeros_like(weight) for weight in weights]
    second = [np.zeros_like(weight) for weight in weights]
    objectives = []
    for step, rows in enumerate(order):
        kernel, bias = weights
        x, y = images[rows].reshape(len(rows), 16) / 255, np.eye(3)[labels[rows]]
        z = x @ kernel + bias
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        if recipe.loss == "cross_entropy":
            loss = -np.mean(np.log(p[y == 1]))
            by_logits = (p - y) / len(rows)
        else:
            loss = np.mean((y - p) ** 2)
            by_p = 2 * (p - y) / y.size
            by_logits = p * (by_p - np.sum(by_p * p, axis=1, keepdims=True))
        objectives.append(loss + strength / 2 * np.sum(kernel**2))
        gradients = [x.T @ by_logits + strength * kernel, by_logits.sum(axis=0)]
        for i, gradient in enumerate(gradients):
            if recipe.optimizer == "sgd":
                state[i] = recipe.momentum * state[i] - rate[step] * gradient
                weights[i] = weights[i] + state[i]
            else:
                state[i] = 0.9 * state[i] + 0.1 * gradient
                second[i] = 0.999 * second[i] + 0.001 * gradient**2
                corrected = np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
                change = corrected * state[i] / (np.sqrt(second[i]) + 1e-7)
                weights[i] = weights[i] - rate[step] * change
    return *weights, objectives


@pytest.mark.parametrize(
    ("options", "strength"),
    [
        ({"optimizer": "sgd", "momentum": 0.0, "schedule": "constant"}, 0.0),
        ({"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine", "warmup_steps": 2}, 0.0),
        ({"optimizer": "sgd", "momentum": 0.5, "loss": "mean_squared_error"}, 0.0),
        ({"optimizer": "adam", "schedule": "staircase"}, 0.0),
        ({"optimizer": "sgd", "momentum": 0.9}, 0.1),
    ],
    ids=["sgd", "momentum, cosine, warm-up", "squared error", "adam, staircase", "penalty"],
)
def test_steps_are_those_worked_out_by_hand(linear_network, tiny, options, strength):
    recipe = Recipe(steps=7, batch_size=4, learning_rate=0.1, **options)
    kernel, bias, objectives = by_hand(linear_network, tiny, recipe, strength)
    penalty = L2(strength=strength) if strength else None
    source = linear_network.copy()
    loop = TrainingLoop(linear_network, [everything(linear_network)], recipe, penalty, source)
    curve = loop.fit(*tiny, seeded())
    np.testing.assert_allclose(linear_network.weights()["head/kernel"], kernel, atol=2e-6)
    np.testing.assert_allclose(linear_network.weights()["head/bias"], bias, atol=2e-6)
    assert curve == [(7, pytest.approx(np.mean(objectives), abs=5e-6))]


def test_the_curve_has_a_point_every_25_steps_and_one_at_the_end(linear_network, tiny):
    recipe = Recipe(steps=60, batch_size=4, learning_rate=0.1, optimizer="sgd")
    *_, objectives = by_hand(linear_network, tiny, recipe)
    reported = []
    loop = TrainingLoop(linear_network, [everything(linear_network)], recipe)
    curve = loop.fit(*tiny, seeded(), reported.append)
    assert reported == [25, 50, 60]
    assert curve == [
        (25, pytest.approx(np.mean(objectives[:25]), abs=1e-5)),
        (50, pytest.approx(np.mean(objectives[25:50]), abs=1e-5)),
        (60, pytest.approx(np.mean(objectives[50:]), abs=1e-5)),
    ]


def test_a_second_fit_starts_with_a_fresh_optimizer(linear_network, tiny):
    recipe = Recipe(steps=5, batch_size=4, learning_rate=0.1)
    loop = TrainingLoop(linear_network, [everything(linear_network)], recipe)
    start = linear_network.weights()
    first_curve = loop.fit(*tiny, seeded())
    first = linear_network.weights()
    linear_network.assign(start)
    assert loop.fit(*tiny, seeded()) == first_curve
    assert moved(first, linear_network.weights()) == set()


def test_training_that_diverges_says_so(linear_network, tiny):
    recipe = Recipe(steps=30, batch_size=4, learning_rate=1e30, optimizer="sgd")
    penalty = L2(strength=1e30)
    source = linear_network.copy()
    loop = TrainingLoop(linear_network, [everything(linear_network)], recipe, penalty, source)
    with pytest.raises(GraftError, match=r"diverged: the objective is (nan|inf) at step 25; lower"):
        loop.fit(*tiny, seeded())


# Blocks, rates and phases


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_blocks_own_rate_scales_its_update(small_network, images, labels, optimizer):
    recipe = Recipe(
        steps=1, batch_size=8, learning_rate=0.01, optimizer=optimizer, schedule="constant"
    )
    start = small_network.weights()
    changes = {}
    for factor in (1.0, 0.25):
        phase = Phase({"block1": factor, "block2": 1.0, "block3": 1.0, "head": 1.0})
        small_network.assign(start)
        TrainingLoop(small_network, [phase], recipe).fit(images, labels, seeded())
        after = small_network.weights()
        changes[factor] = {path: after[path] - start[path] for path in start}
    for path, change in changes[1.0].items():
        factor = 0.25 if path.startswith("block1") else 1.0
        np.testing.assert_allclose(changes[0.25][path], factor * change, rtol=1e-3, atol=1e-7)
    assert np.any(changes[0.25]["block1_conv1/kernel"])


def test_a_block_trains_in_the_phases_that_name_it(small_network, images, labels):
    recipe = Recipe(steps=4, batch_size=8, learning_rate=0.05)
    phases = [Phase({"head": 1.0}, 0.5), Phase({"head": 1.0, "block3": 1.0}, 0.5)]
    start = small_network.weights()
    seen = {}
    loop = TrainingLoop(small_network, phases, recipe)
    loop.fit(images, labels, seeded(), lambda s: seen.update({s: small_network.weights()}))
    head = {"head/kernel", "head/bias"}
    both = head | {"block3_dense/kernel", "block3_dense/bias"}
    assert list(seen) == [2, 4]
    assert moved(start, seen[2]) == head
    assert moved(start, seen[4]) == loop.trained == both


@pytest.mark.parametrize(
    ("shares", "ends"),
    [((0.5, 0.5), [5, 10]), ((0.25, 0.75), [2, 10]), ((1.0, 1.0, 2.0), [2, 5, 10])],
    ids=str,
)
def test_phases_take_their_shares_of_the_steps(linear_network, tiny, shares, ends):
    recipe = Recipe(steps=10, batch_size=4, learning_rate=0.05)
    phases = [Phase({"head": 1.0}, share) for share in shares]
    reported = []
    TrainingLoop(linear_network, phases, recipe).fit(*tiny, seeded(), reported.append)
    assert reported == ends


def test_one_optimizer_runs_through_all_phases(linear_network, tiny):
    recipe = Recipe(steps=6, batch_size=4, learning_rate=0.05, optimizer="sgd", momentum=0.9)
    start = linear_network.weights()
    results = []
    for shares in ((1.0,), (0.5, 0.5)):
        linear_network.assign(start)
        phases = [Phase({"head": 1.0}, share) for share in shares]
        TrainingLoop(linear_network, phases, recipe).fit(*tiny, seeded())
        results.append(linear_network.weights())
    assert moved(*results) == set()


# BatchNorm

STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")
RECIPE = Recipe(steps=1, batch_size=24, learning_rate=0.01, schedule="constant")


def of_batch_norm(paths):
    return {path for path in paths if path.rsplit("/", 1)[1] in STATISTICS}


def test_a_frozen_batch_norm_stays_to_the_bit_and_normalises_as_in_inference(
    norm_network, images, labels
):
    start = norm_network.weights()
    likelihood = norm_network.probabilities(images)[np.arange(24), labels]
    loop = TrainingLoop(norm_network, [everything(norm_network)], RECIPE, batch_norm="frozen")
    ((_, loss),) = loop.fit(images, labels, seeded())
    changed = moved(start, norm_network.weights())
    assert len(of_batch_norm(start)) == 9 * 4
    assert changed == start.keys() - of_batch_norm(start)
    assert loop.trained == changed
    assert loss == pytest.approx(-np.mean(np.log(likelihood)), rel=1e-5)


def test_an_adapting_batch_norm_moves_a_tenth_of_the_way_to_the_batch(norm_network, images, labels):
    start = norm_network.weights()
    norm_network.recompute_statistics(images)
    batch = norm_network.weights()
    norm_network.assign(start)
    loop = TrainingLoop(norm_network, [everything(norm_network)], RECIPE)
    loop.fit(images, labels, seeded())
    after = norm_network.weights()
    assert moved(start, after) == loop.trained == start.keys()
    for path in start.keys() - norm_network.parameters.keys():
        expected = 0.9 * start[path] + 0.1 * batch[path]
        np.testing.assert_allclose(after[path], expected, rtol=1e-4, atol=1e-6, err_msg=path)


def test_a_batch_norm_adapts_in_its_blocks_phases_alone(norm_network, images, labels):
    recipe = Recipe(steps=2, batch_size=24, learning_rate=0.01, schedule="constant")
    phases = [Phase({"head": 1.0}, 0.5), Phase({"head": 1.0, "block3": 1.0}, 0.5)]
    start = norm_network.weights()
    seen = {}
    loop = TrainingLoop(norm_network, phases, recipe)
    loop.fit(images, labels, seeded(), lambda s: seen.update({s: norm_network.weights()}))
    block3 = {path for path in start if path.startswith("block3_")}
    assert moved(start, seen[1]) == {"head/kernel", "head/bias"}
    assert of_batch_norm(moved(start, seen[2])) == of_batch_norm(block3)


def test_a_loop_of_its_own_freezes_what_another_one_adapted(norm_network, images, labels):
    adapting = TrainingLoop(norm_network, [everything(norm_network)], RECIPE)
    frozen = TrainingLoop(norm_network, [everything(norm_network)], RECIPE, batch_norm="frozen")
    start = norm_network.weights()
    frozen.fit(images, labels, seeded())
    assert of_batch_norm(moved(start, norm_network.weights())) == set()
    adapting.fit(images, labels, seeded())
    assert of_batch_norm(moved(start, norm_network.weights())) == of_batch_norm(start)


# Augmentation and other processes


def test_augmentation_draws_after_the_order(linear_network, tiny):
    images, labels = tiny
    augmentation = Augmentation(flip=True, crop=1)
    recipe = Recipe(steps=3, batch_size=4, learning_rate=0.1, augmentation=augmentation)
    start = linear_network.weights()
    TrainingLoop(linear_network, [everything(linear_network)], recipe).fit(*tiny, seeded())
    augmented = linear_network.weights()

    rng = seeded()
    order = example_order(10, 3, 4, rng)
    varied = augmentation.apply(images[order.ravel()], rng)
    linear_network.assign(start)
    plain = recipe.model_copy(update={"augmentation": Augmentation()})
    loop = TrainingLoop(linear_network, [everything(linear_network)], plain)

    class InOrder(np.random.Generator):
        def permutation(self, count):
            return np.arange(count)

    loop.fit(varied, labels[order.ravel()], InOrder(np.random.PCG64()))
    assert moved(augmented, linear_network.weights()) == set()
    assert moved(start, augmented)


TRAIN = """
import hashlib
import numpy as np
from graft.compute.runtime import start_tensorflow
start_tensorflow()
from graft.networks.resnet import ResNet
from graft.strategies.full import Full
from graft.training.loop import Recipe, TrainingLoop

network = ResNet(width=2, image_size=8, channels=1).build((8, 8, 1), 3, seed=1)
images = np.random.default_rng(7).integers(0, 256, (24, 8, 8, 1), np.uint8)
labels = (np.arange(24) % 3).astype(np.int32)
loop = TrainingLoop(network, Full().phases(network.blocks), Recipe(steps=5, learning_rate=0.01))
loop.fit(images, labels, np.random.default_rng(0))
content = b"".join(value.tobytes() for value in network.weights().values())
print(hashlib.sha256(content).hexdigest())
"""


def test_another_process_trains_to_the_same_bits(norm_network, images, labels):
    recipe = Recipe(steps=5, learning_rate=0.01)
    TrainingLoop(norm_network, [everything(norm_network)], recipe).fit(images, labels, seeded())
    content = b"".join(value.tobytes() for value in norm_network.weights().values())
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == hashlib.sha256(content).hexdigest()


def test_memory_mapped_inputs_train_as_those_in_memory(tmp_path, linear_network, tiny):
    images, labels = tiny
    np.save(tmp_path / "images.npy", images)
    loop = TrainingLoop(
        linear_network,
        [everything(linear_network)],
        Recipe(steps=3, batch_size=4, learning_rate=0.1),
    )
    start = linear_network.weights()
    loop.fit(images, labels, seeded())
    first = linear_network.weights()
    linear_network.assign(start)
    loop.fit(np.load(tmp_path / "images.npy", mmap_mode="r"), labels, seeded())
    assert moved(first, linear_network.weights()) == set()


# The recipe


@pytest.mark.parametrize(
    "given",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"warmup_steps": -1},
        {"warmup_steps": 11},
        {"optimizer": "adagrad"},
        {"loss": "hinge"},
        {"schedule": "linear"},
        {"augmentation": {"crop": -1}},
        {"augmentation": {"rotate": 1}},
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be_followed_is_refused(given):
    with pytest.raises(ValidationError):
        Recipe(**{"steps": 1, "learning_rate": 0.1, **given})


# Taking up an interrupted training


class KilledError(Exception):
    """What ends a training early."""


@pytest.mark.parametrize(
    ("optimizer", "batch_norm"), [("adam", "stochastic"), ("sgd", "adapt")], ids=str
)
def test_an_interrupted_training_ends_as_it_would_have(  # noqa: PLR0917 - fixtures
    two_block_network, images, labels, always_saved, optimizer, batch_norm
):
    """Killed in either phase, and taken up by a process that has only what was saved."""
    start = two_block_network.weights()
    phases = [
        Phase({"head": 1.0, "block2": 0.5}, 1.0),
        Phase(dict.fromkeys(two_block_network.blocks, 1.0), 1.0),
    ]
    recipe = Recipe(
        steps=120,
        batch_size=4,
        optimizer=optimizer,
        learning_rate=0.01,
        augmentation=Augmentation(flip=True, crop=1),
    )

    def fit(rng=None, on_steps=None, training=None):
        two_block_network.assign(start)
        loop = TrainingLoop(two_block_network, phases, recipe, batch_norm=batch_norm)
        return loop.fit(images, labels, rng or seeded(), on_steps, training=training)

    rng = seeded()
    curve = fit(rng)
    unbroken = two_block_network.weights()
    for killed_after in (25, 60, 110):

        def kill(step, killed_after=killed_after):
            if step > killed_after:
                raise KilledError

        with contextlib.suppress(KilledError):
            fit(on_steps=kill, training=always_saved.training("long"))
        training = always_saved.training("long")
        assert training.step == killed_after
    steps = []
    again = seeded()
    assert fit(again, steps.append, training) == curve
    assert steps == [120]
    assert moved(unbroken, two_block_network.weights()) == set()
    assert again.bit_generator.state == rng.bit_generator.state
