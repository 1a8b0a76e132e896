import numpy as np
import pytest

from graft.core.labels import folds, labelled
from graft.core.streams import generator
from graft.finetuning.cross_validation import OutOfFold, cross_validate, out_of_fold
from graft.finetuning.finetuner import Finetuner, Labelled
from graft.finetuning.methods import Method
from graft.fitting.head import solve_head
from graft.strategies.full import Full
from graft.strategies.probe import Probe
from graft.strategies.scratch import Scratch
from graft.training.checkpoints import Checkpoint
from graft.training.loop import Recipe

RECIPE = Recipe(steps=3, batch_size=8, learning_rate=0.01)


@pytest.fixture
def probe(small_network):
    return Finetuner(small_network, Method(strategy=Probe()), RECIPE)


# Always sure of 90 %, and right in three of four.
HELD = OutOfFold(
    2,
    np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]),
    np.array([0, 0, 1, 0], np.int32),
)


def test_the_estimate_is_the_mean_over_the_labels():
    assert HELD.accuracy == 0.75
    assert HELD.log_loss == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4)


def test_the_temperature_is_that_of_what_was_held_out():
    assert HELD.temperature == pytest.approx(2, rel=1e-4)


def test_without_an_error_there_is_no_temperature_to_find():
    right = OutOfFold(2, HELD.probabilities, HELD.probabilities.argmax(axis=1))
    assert (right.accuracy, right.temperature) == (1.0, None)


def test_cross_validation_is_that_worked_out_fold_by_fold(small_network, probe, task):
    start = small_network.weights()
    result = cross_validate(probe, task, 4, 3, seed=9)

    small_network.assign(start)
    rows = labelled(task.ranks[0], 4)
    features, labels = small_network.features(task.inputs[rows]), task.labels[rows]
    fold = folds(labels, 3, generator(9, "folds"))
    expected = np.empty((12, 3))
    for number in range(3):
        train, held = fold != number, fold == number
        kernel, bias = solve_head(features[train], labels[train], 3, 1.0)
        logits = features[held].astype(np.float64) @ kernel + bias
        expected[held] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert result.folds == 3
    assert np.array_equal(result.labels, labels)
    np.testing.assert_allclose(result.probabilities, expected, rtol=1e-4)


@pytest.mark.parametrize(("budget", "count"), [(1, 5), (4, 0), ("all", 0)], ids=str)
def test_where_a_class_has_one_label_nothing_is_cross_validated(probe, task, budget, count):
    assert cross_validate(probe, task, budget, count, seed=0) is None


@pytest.mark.parametrize(("budget", "count", "used"), [(2, 5, 2), (4, 5, 4), ("all", 5, 5)])
def test_there_are_no_more_folds_than_labels_of_a_class(probe, task, budget, count, used):
    assert cross_validate(probe, task, budget, count, seed=0).folds == used


def test_nothing_beyond_the_rows_of_the_cell_is_read(probe, task):
    rows = labelled(task.ranks[0], 4)
    inputs, labels = np.zeros_like(task.inputs), np.full_like(task.labels, 99)
    inputs[rows], labels[rows] = task.inputs[rows], task.labels[rows]
    alone = Labelled(inputs, labels, task.ranks)
    results = [out_of_fold(probe, each, rows, 2, seed=3) for each in (task, alone)]
    assert np.array_equal(results[0].probabilities, results[1].probabilities)


def test_no_label_is_predicted_by_a_network_that_has_seen_it(probe, task, monkeypatch):
    rows = labelled(task.ranks[0], 4)
    seen = []
    train, predict = probe.train, probe.network.probabilities

    def training(inputs, *rest, **more):
        seen.append({image.tobytes() for image in inputs})
        return train(inputs, *rest, **more)

    def predicting(inputs):
        assert not seen[-1] & {image.tobytes() for image in inputs}
        return predict(inputs)

    monkeypatch.setattr(probe, "train", training)
    monkeypatch.setattr(probe.network, "probabilities", predicting)
    out_of_fold(probe, task, rows, 4, seed=0)
    assert [len(images) for images in seen] == [9, 9, 9, 9]


def test_the_control_starts_every_fold_at_its_random_weights(small_network, task):
    start = {path: value + 0.1 for path, value in small_network.weights().items()}
    finetuner = Finetuner(small_network, Method(strategy=Scratch()), RECIPE)
    there = cross_validate(finetuner, task, 4, 2, seed=0, start=start).probabilities
    elsewhere = cross_validate(finetuner, task, 4, 2, seed=0).probabilities
    small_network.assign(start)
    same = Finetuner(small_network, Method(strategy=Scratch()), RECIPE)
    assert np.array_equal(cross_validate(same, task, 4, 2, seed=0).probabilities, there)
    assert not np.allclose(elsewhere, there)


def test_folds_that_an_interrupted_run_finished_are_not_trained_again(
    small_network, task, tmp_path, count_trainings
):
    """Nothing of a fold is kept but what it says of the labels that were held out."""
    start = small_network.weights()
    method = Method(strategy=Full())

    def validated(checkpoint=None):
        small_network.assign(start)
        finetuner = Finetuner(small_network, method, RECIPE, checkpoint=checkpoint)
        return cross_validate(finetuner, task, 4, 3, seed=0)

    unbroken = validated()
    validated(Checkpoint(tmp_path))
    folds_kept = sorted(tmp_path.iterdir())
    assert len(folds_kept) == 3
    assert list(Checkpoint(tmp_path).read(folds_kept[0].stem)) == ["probabilities"]
    folds_kept[0].unlink()
    trained = count_trainings()
    again = validated(Checkpoint(tmp_path))
    assert trained == [8]
    assert again.probabilities.tobytes() == unbroken.probabilities.tobytes()
