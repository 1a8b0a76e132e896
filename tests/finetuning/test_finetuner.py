import numpy as np
import pytest

from graft.core.labels import Cell, cells, labelled
from graft.core.streams import generator
from graft.finetuning import finetuner as finetuning
from graft.finetuning.finetuner import Finetuner, FinetuneSection
from graft.finetuning.methods import Method
from graft.fitting.head import solve_head
from graft.penalties.l2 import L2
from graft.penalties.l2_sp import L2SP
from graft.strategies.full import Full
from graft.strategies.probe import Probe
from graft.strategies.scratch import Scratch
from graft.training.checkpoints import Checkpoint
from graft.training.loop import Recipe

RECIPE = Recipe(steps=3, batch_size=8, learning_rate=0.01)
HEAD = {"head/kernel", "head/bias"}


def seeded():
    return np.random.default_rng(0)


def moved(before, after):
    """Return the paths of the tensors that are not the same to the bit."""
    return {path for path, value in after.items() if value.tobytes() != before[path].tobytes()}


def test_cells_go_from_the_smallest_budget_to_the_largest():
    names = [cell.name for cell in cells((1, 5, "all"), 2)]
    assert names == ["1-0", "1-1", "5-0", "5-1", "all-0", "all-1"]


# One cell


def test_a_probe_solves_the_head_and_takes_no_step(small_network, images, labels):
    before = small_network.weights()
    features = small_network.features(images)
    finetuned = Finetuner(small_network, Method(strategy=Probe(c=2.0)), RECIPE).train(
        images, labels, seeded()
    )
    kernel, bias = solve_head(features, labels, 3, 2.0)
    assert (finetuned.steps, finetuned.curve) == (0, [])
    assert finetuned.weights.keys() == HEAD == moved(before, small_network.weights())
    assert np.array_equal(finetuned.weights["head/kernel"], kernel)
    assert np.array_equal(finetuned.weights["head/bias"], bias)


def test_a_probe_takes_the_features_that_were_extracted_before(small_network, images, labels):
    features = seeded().normal(size=(24, 8)).astype(np.float32)
    finetuned = Finetuner(small_network, Method(strategy=Probe()), RECIPE).train(
        images, labels, seeded(), features=features
    )
    kernel, _ = solve_head(features, labels, 3, 1.0)
    assert np.array_equal(finetuned.weights["head/kernel"], kernel)


def test_a_probe_with_a_penalty_descends_from_the_solved_head(small_network, images, labels):
    before = small_network.weights()
    kernel, bias = solve_head(small_network.features(images), labels, 3, 1.0)
    method = Method(strategy=Probe(), penalty=L2(strength=10.0))
    recipe = RECIPE.model_copy(update={"optimizer": "sgd", "momentum": 0.0, "steps": 1})
    finetuned = Finetuner(small_network, method, recipe).train(images, labels, seeded())
    assert finetuned.steps == 1
    assert finetuned.weights.keys() == HEAD == moved(before, small_network.weights())
    # One step of 0.01 against 10 / 2 * (all kernels)^2 takes a tenth off the solved head,
    # beside the step along the loss, which is small at its optimum.
    np.testing.assert_allclose(finetuned.weights["head/kernel"], 0.9 * kernel, atol=0.02)
    np.testing.assert_allclose(finetuned.weights["head/bias"], bias, atol=0.02)
    assert not np.allclose(finetuned.weights["head/kernel"], kernel, atol=0.02)


def test_full_trains_everything_but_batch_norm_unless_it_adapts(norm_network, images, labels):
    start = norm_network.weights()
    of_norm = {path for path in start if "_bn" in path}
    for policy, expected in (("frozen", start.keys() - of_norm), ("adapt", start.keys())):
        finetuner = Finetuner(norm_network, Method(strategy=Full(), batch_norm=policy), RECIPE)
        norm_network.assign(start)
        finetuned = finetuner.train(images, labels, seeded())
        assert finetuned.weights.keys() == expected == moved(start, norm_network.weights())


def test_recompute_takes_statistics_anew_and_then_keeps_them(norm_network, images, labels):
    start = norm_network.weights()
    norm_network.recompute_statistics(images)
    recomputed = norm_network.weights()
    norm_network.assign(start)
    method = Method(strategy=Full(), batch_norm="recompute")
    finetuner = Finetuner(norm_network, method, RECIPE)
    first = finetuner.train(images, labels, seeded())
    statistics = {path for path in start if "/moving_" in path}
    scale_and_shift = {path for path in start if path.endswith(("/gamma", "/beta"))}
    assert len(statistics) == len(scale_and_shift) == 18
    assert first.weights.keys() == start.keys() - scale_and_shift
    assert moved(start, norm_network.weights()) == first.weights.keys()
    for path in statistics:
        assert first.weights[path].tobytes() == recomputed[path].tobytes(), path
    second = finetuner.train(images, labels, seeded())
    assert moved(first.weights, second.weights) == set()


def test_a_probe_on_recomputed_statistics_extracts_its_features_anew(norm_network, images, labels):
    method = Method(strategy=Probe(), batch_norm="recompute")
    finetuner = Finetuner(norm_network, method, RECIPE)
    stale = np.zeros((24, 8), np.float32)
    finetuned = finetuner.train(images, labels, seeded(), features=stale)
    kernel, _ = solve_head(norm_network.features(images), labels, 3, 1.0)
    assert np.array_equal(finetuned.weights["head/kernel"], kernel)
    assert finetuned.weights.keys() == HEAD | {p for p in finetuner.trained if "/moving_" in p}


def test_every_cell_starts_at_theta_0(small_network, images, labels):
    finetuner = Finetuner(small_network, Method(strategy=Full()), RECIPE)
    first = finetuner.train(images, labels, seeded())
    finetuner.train(images[:9], labels[:9], np.random.default_rng(1))
    again = finetuner.train(images, labels, seeded())
    assert again.curve == first.curve
    assert moved(first.weights, again.weights) == set()


def test_the_control_starts_where_it_is_told(small_network, images, labels):
    starts = [{p: v + s for p, v in small_network.weights().items()} for s in (0.0, 0.01)]
    finetuner = Finetuner(small_network, Method(strategy=Scratch()), RECIPE)
    results = [finetuner.train(images, labels, seeded(), start=start) for start in starts]
    assert moved(results[0].weights, results[1].weights) == starts[0].keys()
    again = finetuner.train(images, labels, seeded(), start=starts[0])
    assert moved(results[0].weights, again.weights) == set()


def test_a_method_may_have_its_own_learning_rate(small_network, images, labels):
    start = small_network.weights()
    results = []
    for own, shared in ((0.03, 0.01), (None, 0.03), (None, 0.01)):
        small_network.assign(start)
        recipe = RECIPE.model_copy(update={"learning_rate": shared})
        finetuner = Finetuner(small_network, Method(strategy=Full(), learning_rate=own), recipe)
        results.append(finetuner.train(images, labels, seeded()).weights)
    assert moved(results[0], results[1]) == set()
    assert moved(results[0], results[2]) == start.keys()


def test_l2_sp_keeps_the_network_nearer_to_theta_0(small_network, images, labels):
    start = small_network.weights()
    recipe = Recipe(steps=10, batch_size=8, learning_rate=0.01, optimizer="sgd")
    distances = []
    for strength in (0.0, 10.0):
        small_network.assign(start)
        method = Method(strategy=Full(), penalty=L2SP(strength=strength))
        weights = Finetuner(small_network, method, recipe).train(images, labels, seeded()).weights
        kernels = [p for p in weights if p.endswith("kernel")]
        distances.append(sum(np.sum((weights[p] - start[p]) ** 2) for p in kernels))
    assert 0 < distances[1] < 0.5 * distances[0]


def test_a_tensor_that_moves_and_should_not_is_a_bug_that_is_told(small_network, images, labels):
    finetuner = Finetuner(small_network, Method(strategy=Probe()), RECIPE)
    prepare = finetuner._prepare

    def meddle(*given):
        prepare(*given)
        small_network.assign({"block1_conv1/bias": np.ones(2, np.float32)})

    finetuner._prepare = meddle
    with pytest.raises(RuntimeError, match="declared frozen have moved: block1_conv1/bias"):
        finetuner.train(images, labels, seeded())


# Variants


def test_each_variant_trains_as_if_it_were_alone(two_block_network, images, labels):
    start = two_block_network.weights()
    own = Method(strategy=Full(), penalty=L2SP(strength=0.1))
    recipe = RECIPE.model_copy(update={"optimizer": "sgd"})
    methods = [
        own.model_copy(update=changed)
        for changed in (
            {"learning_rate": 0.1},
            {"batch_norm": "adapt"},
            {"learning_rate": 0.02},
            {"penalty": L2SP(strength=1.0)},
        )
    ]
    variants = Finetuner(two_block_network, own, recipe).variants(methods)
    among_others = [v.train(images, labels, seeded()) for _ in range(2) for v in variants]
    for method, first, again in zip(methods, among_others[:4], among_others[4:], strict=True):
        two_block_network.assign(start)
        alone = Finetuner(two_block_network, method, recipe).train(images, labels, seeded())
        assert alone.curve == first.curve == again.curve
        assert alone.weights.keys() == first.weights.keys()
        assert moved(alone.weights, first.weights) == moved(first.weights, again.weights) == set()


# Every cell


def test_every_cell_trains_on_the_labels_of_its_budget(small_network, task, monkeypatch):
    seen = {}
    finetuner = Finetuner(small_network, Method(strategy=Full()), RECIPE)
    train = finetuner.train

    def spying(inputs, labels, rng, **rest):
        seen[len(seen)] = (inputs, rng.bit_generator.state)
        return train(inputs, labels, rng, **rest)

    monkeypatch.setattr(finetuner, "train", spying)
    results = list(finetuning.finetune_cells(finetuner, task, (1, "all"), 2, seed=5))
    assert [cell for cell, *_ in results] == [
        Cell(budget, repeat) for budget in (1, "all") for repeat in (0, 1)
    ]
    for (cell, *_), (inputs, state) in zip(results, seen.values(), strict=True):
        rows = labelled(task.ranks[cell.repeat], cell.labels_per_class)
        assert np.array_equal(inputs, task.inputs[rows])
        assert state == generator(5, "order", cell.name).bit_generator.state


def test_the_accuracy_is_that_on_a_cells_own_labels(small_network, task):
    finetuner = Finetuner(small_network, Method(strategy=Probe()), RECIPE)
    for cell, _, accuracy in finetuning.finetune_cells(finetuner, task, (2,), 2, seed=0):
        rows = labelled(task.ranks[cell.repeat], 2)
        predicted = small_network.probabilities(task.inputs[rows]).argmax(axis=1)
        assert accuracy == np.mean(predicted == task.labels[rows])


def test_a_cell_does_not_depend_on_the_others(small_network, task):
    finetuner = Finetuner(small_network, Method(strategy=Full()), RECIPE)
    many = finetuning.finetune_cells(finetuner, task, (1, 2, 4), 2, seed=0)
    among_others = {cell.name: finetuned for cell, finetuned, _ in many}["2-0"]
    ((_, alone, _),) = finetuning.finetune_cells(finetuner, task, (2,), 1, seed=0)
    assert alone.curve == among_others.curve
    assert moved(alone.weights, among_others.weights) == set()


def test_one_fold_is_refused():
    with pytest.raises(ValueError, match="folds: received 1; expected 0"):
        FinetuneSection(methods=["full"], folds=1, training={"steps": 1, "learning_rate": 0.1})


# Taking up an interrupted run


def run_cells(network, task, method, checkpoint=None, starts=None):
    """Yield the cells as a stage of its own would: with a network at theta_0."""
    finetuner = Finetuner(network, method, RECIPE, checkpoint=checkpoint)
    return finetuning.finetune_cells(finetuner, task, (1, 2), 2, seed=0, starts=starts)


def arrays(results):
    return [(cell, finetuned.arrays(), accuracy) for cell, finetuned, accuracy in results]


def same(one, other):
    for (cell, mine, accuracy), (its_cell, its, its_accuracy) in zip(one, other, strict=True):
        assert (cell, accuracy) == (its_cell, its_accuracy)
        assert list(mine) == list(its)
        assert moved(its, mine) == set()
    return True


@pytest.mark.parametrize("kind", ["probe", "recompute", "scratch"])
def test_cells_that_an_interrupted_run_finished_are_not_trained_again(
    two_block_network, task, tmp_path, count_trainings, kind
):
    methods = {
        "probe": Method(strategy=Probe()),
        "recompute": Method(strategy=Full(), batch_norm="recompute"),
        "scratch": Method(strategy=Scratch()),
    }
    start = two_block_network.weights()
    other = {path: value + np.float32(0.01) for path, value in start.items()}
    starts = [start, other] if kind == "scratch" else None
    unbroken = arrays(run_cells(two_block_network, task, methods[kind], starts=starts))

    checkpoint = Checkpoint(tmp_path)
    two_block_network.assign(start)
    interrupted = run_cells(two_block_network, task, methods[kind], checkpoint, starts)
    for _ in range(3):
        next(interrupted)
    two_block_network.assign(start)
    trained = count_trainings()
    assert checkpoint.finished() == 3
    assert same(
        arrays(run_cells(two_block_network, task, methods[kind], checkpoint, starts)), unbroken
    )
    assert trained == [6]  # two labels of each of three classes: the last cell


def test_nothing_of_another_method_recipe_or_seed_is_taken_up(small_network, task, tmp_path):
    checkpoint = Checkpoint(tmp_path)
    start = small_network.weights()
    method = Method(strategy=Full())

    def cell(method=method, recipe=RECIPE, seed=0, rows=6, start=start):
        finetuner = Finetuner(small_network, method, recipe, checkpoint=checkpoint)
        rng = np.random.default_rng(seed)
        return task.train(finetuner, np.arange(rows), rng, start)

    cell()
    cell()
    assert checkpoint.finished() == 1
    other = {**start, "head/bias": start["head/bias"] + 1}
    differences = [
        {"method": Method(strategy=Full(), penalty=L2(strength=0.1))},
        {"method": Method(strategy=Full(), learning_rate=0.02)},
        {"recipe": RECIPE.model_copy(update={"learning_rate": 0.02})},
        {"seed": 1},
        {"rows": 7},
        {"start": other},
    ]
    for number, difference in enumerate(differences):
        small_network.assign(start)
        cell(**difference)
        assert checkpoint.finished() == 2 + number, difference
