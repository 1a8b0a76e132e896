"""How often a penalty measures, and that what it measured reaches every step of its own cell."""

from typing import ClassVar, Literal

import numpy as np
import pytest

from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.networks.small_cnn import SmallCNN
from graft.penalties.base import Penalty
from graft.penalties.co_tuning import CoTuning
from graft.strategies.full import Full
from graft.training.loop import Recipe

RECIPE = Recipe(steps=2, batch_size=4, learning_rate=0.01)


class Constant(Penalty):
    """A penalty that is what it measured: the sum of the cell's labels."""

    name: str = "constant"

    def measure(self, evidence):
        return {"sum": np.float32(evidence.labels.sum())}

    def __call__(self, target, source, batch):
        return self.strength * batch.measured["sum"]


class OfSource(Constant):
    measures: ClassVar[Literal["nothing", "source", "cell"]] = "source"


class OfCell(Constant):
    measures: ClassVar[Literal["nothing", "source", "cell"]] = "cell"


@pytest.fixture
def finetuner_of(small_network, task_of):
    task = task_of(SmallCNN(width=2), small_network)
    start = small_network.weights()

    def finetuner(penalty=None, source=task):
        small_network.assign(start)
        # A penalty that is no member of the registry goes past params.yaml's validation.
        method = Method(strategy=Full()).model_copy(update={"penalty": penalty})
        return Finetuner(small_network, method, RECIPE, source)

    return finetuner


def last_objective(finetuner, images, labels, rows):
    finetuned = finetuner.train(images[rows], labels[rows], np.random.default_rng(0))
    return finetuned.curve[-1][1]


@pytest.mark.parametrize(("kind", "sums"), [(OfSource, (2, 2)), (OfCell, (2, 6))])
def test_it_is_measured_once_or_for_every_cell(finetuner_of, images, labels, kind, sums):
    plain = finetuner_of()
    cells = ([0, 1, 4], [2, 5, 8])
    without = [last_objective(plain, images, labels, rows) for rows in cells]
    penalised = finetuner_of(kind(strength=10.0))
    for rows, objective, total in zip(cells, without, sums, strict=True):
        added = last_objective(penalised, images, labels, rows) - objective
        assert added == pytest.approx(10 * total, rel=1e-5)


def test_a_cell_trains_as_if_it_were_the_first(finetuner_of, images, labels):
    def train(finetuner, rows):
        return finetuner.train(images[rows], labels[rows], np.random.default_rng(0))

    used = finetuner_of(CoTuning(strength=2.3))
    train(used, np.arange(9))
    after = train(used, np.arange(9, 24))
    fresh = train(finetuner_of(CoTuning(strength=2.3)), np.arange(9, 24))
    assert after.curve == fresh.curve
    assert all(np.array_equal(value, fresh.weights[path]) for path, value in after.weights.items())


def test_a_source_to_measure_must_be_there(finetuner_of, images, labels):
    finetuner = finetuner_of(CoTuning(strength=1.0), source=None)
    with pytest.raises(ValueError, match="'co_tuning' measures the source; pass `source`"):
        finetuner.train(images, labels, np.random.default_rng(0))
