import numpy as np
import pytest

from graft.core.labels import Cell, label_ranks, labelled
from graft.finetuning import finetuner as finetuning
from graft.finetuning import tuning
from graft.finetuning.cross_validation import OutOfFold, out_of_fold
from graft.finetuning.finetuner import Finetuner, Labelled, finetune_cells
from graft.finetuning.methods import Method
from graft.finetuning.tuning import Tuner, account
from graft.penalties.l2 import L2
from graft.penalties.l2_sp import L2SP
from graft.strategies.full import Full
from graft.strategies.probe import Probe
from graft.strategies.scratch import Scratch
from graft.training.loop import DivergedError, Recipe

RECIPE = Recipe(steps=30, batch_size=6, learning_rate=0.01, optimizer="sgd")
REASON = "fewer than 3 labels in the smallest class"


@pytest.fixture(scope="module")
def bright():
    """Images of three classes, told apart by which pixel is bright: one learns them in no time."""
    labels = (np.arange(30) % 3).astype(np.int32)
    images = np.random.default_rng(0).integers(0, 60, (30, 4, 4, 1), np.uint8)
    images[np.arange(30), 0, labels, 0] = 255
    return Labelled(images, labels, label_ranks(labels, repeats=2, seed=0))


def same(one, other):
    return one.keys() == other.keys() and all(
        value.tobytes() == other[path].tobytes() for path, value in one.items()
    )


# The choice


def test_the_rate_that_learns_wins(linear_network, bright):
    method = Method(strategy=Full(), grid={"learning_rate": (1e-9, 0.1, 1e-8)})
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 3, seed=0)
    finetuner, result = tuner(Cell(4, 0))
    assert finetuner.method == Method(strategy=Full(), learning_rate=0.1)
    assert (result.chosen, result.best, result.folds) == ({"learning_rate": 0.1}, 1, 3)
    (slow, _), (right, _), (slower, _) = result.scores
    assert slow == slower < right
    assert result.reason is None


@pytest.fixture
def choose(linear_network, bright, monkeypatch):
    """Return what is chosen where the combinations of three have these probabilities.

    Each is one of two labels' right class, in the order of the grid.
    """

    def of(*probabilities):
        results = {
            c: OutOfFold(2, np.array([[p, 1 - p] for p in row]), np.array([0, 0]))
            for c, row in zip((1.0, 2.0, 3.0), probabilities, strict=True)
        }
        monkeypatch.setattr(
            tuning, "out_of_fold", lambda finetuner, *_, **__: results[finetuner.method.strategy.c]
        )
        method = Method(strategy=Probe(), grid={"c": (1.0, 2.0, 3.0)})
        tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 2, seed=0)
        return tuner(Cell(4, 0))[1]

    return of


@pytest.mark.parametrize(
    ("probabilities", "winner"),
    [
        ([(0.9, 0.4), (0.6, 0.6), (0.9, 0.4)], 1),
        ([(0.6, 0.6), (0.6, 0.6), (0.7, 0.6)], 2),
        ([(0.6, 0.4), (0.6, 0.4), (0.6, 0.4)], 0),
    ],
    ids=["the most accurate", "then the lowest log loss", "then the first"],
)
def test_what_wins(choose, probabilities, winner):
    assert choose(*probabilities).best == winner


def test_the_scores_of_every_combination_are_noted(choose):
    result = choose((0.9, 0.4), (0.6, 0.6), (0.2, 0.2))
    assert result.chosen == {"c": 2.0}
    assert [accuracy for accuracy, _ in result.scores] == [0.5, 1.0, 0.0]
    assert result.scores[1][1] == pytest.approx(-np.log(0.6))
    assert result.record == {
        "folds": 2,
        "best": 1,
        "scores": [{"accuracy": a, "log_loss": loss} for a, loss in result.scores],
    }


def test_the_temperature_is_that_of_the_winner(choose):
    # In T the log loss of a right 80 % and a wrong 60 % is least where its slope is zero:
    # sigmoid(-ln 4 / T) * ln 4 = sigmoid(ln 1.5 / T) * ln 1.5.
    result = choose((0.8, 0.4), (0.45, 0.4), (0.45, 0.4))
    assert result.best == 0
    t = result.temperature
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    right, wrong = np.log(4), np.log(1.5)
    slopes = sigmoid(-right / t) * right, sigmoid(wrong / t) * wrong
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-3)
    assert choose((0.8, 0.7), (0.45, 0.4), (0.45, 0.4)).temperature is None


# Too few labels


@pytest.mark.parametrize(("budget", "tuned"), [(1, False), (2, False), (3, True), ("all", True)])
def test_below_three_labels_of_a_class_the_own_values_stand(linear_network, bright, budget, tuned):
    method = Method(strategy=Probe(c=5.0), grid={"c": (1.0, 2.0)})
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 3, seed=0)
    finetuner, result = tuner(Cell(budget, 0))
    assert (result.reason is None) == tuned
    assert (result.folds > 0) == tuned
    if not tuned:
        assert finetuner.method == Method(strategy=Probe(c=5.0))
        assert (result.chosen, result.temperature) == ({"c": 5.0}, None)
        assert result.record == {"folds": 0, "reason": REASON}


def test_the_smallest_class_decides(linear_network, bright):
    rows = [*np.flatnonzero(bright.labels < 2), *np.flatnonzero(bright.labels == 2)[:2]]
    ranks = label_ranks(bright.labels[rows], 1, 0)
    uneven = Labelled(bright.inputs[rows], bright.labels[rows], ranks)
    method = Method(strategy=Probe(), grid={"c": (1.0, 2.0)})
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), uneven, 3, seed=0)
    assert tuner(Cell("all", 0))[1].reason == REASON


def test_there_are_no_more_folds_than_labels_of_a_class(linear_network, bright):
    method = Method(strategy=Probe(), grid={"c": (1.0, 2.0)})
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 5, seed=0)
    assert [tuner(Cell(budget, 0))[1].folds for budget in (3, 4, "all")] == [3, 4, 5]


# What is looked at


def test_nothing_beyond_the_labels_of_the_cell_is_looked_at(linear_network, bright):
    start = linear_network.weights()
    rows = labelled(bright.ranks[1], 3)
    inputs, labels = np.zeros_like(bright.inputs), np.full_like(bright.labels, 99)
    inputs[rows], labels[rows] = bright.inputs[rows], bright.labels[rows]
    method = Method(strategy=Full(), grid={"learning_rate": (0.001, 0.1)})
    results = []
    for examples in (bright, Labelled(inputs, labels, bright.ranks)):
        linear_network.assign(start)
        tuner = Tuner(Finetuner(linear_network, method, RECIPE), examples, 3, seed=0)
        results.append(tuner(Cell(3, 1))[1])
    assert results[0] == results[1]


def test_every_combination_sees_the_same_folds_and_batches(linear_network, bright, monkeypatch):
    seen = []
    train = Finetuner.train

    def spying(self, inputs, labels, rng, **rest):
        state = rng.bit_generator.state["state"]["state"]
        seen.append((self.method.learning_rate, inputs.tobytes(), state))
        return train(self, inputs, labels, rng, **rest)

    monkeypatch.setattr(Finetuner, "train", spying)
    method = Method(strategy=Full(), grid={"learning_rate": (0.001, 0.1)})
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 3, seed=0)
    tuner(Cell(4, 0))
    assert [rate for rate, *_ in seen] == [0.001] * 3 + [0.1] * 3
    assert [rest for _, *rest in seen[:3]] == [rest for _, *rest in seen[3:]]
    assert len({state for *_, state in seen}) == 3
    tuner(Cell(4, 1))
    assert not {state for *_, state in seen[:3]} & {state for *_, state in seen[6:]}


def test_the_control_is_tuned_from_the_random_weights_of_its_repeat(linear_network, bright):
    starts = [{p: v + s for p, v in linear_network.weights().items()} for s in (0.0, 1.0)]
    method = Method(strategy=Scratch(), grid={"learning_rate": (0.001, 0.1)})
    finetuner = Finetuner(linear_network, method, RECIPE)
    tuner = Tuner(finetuner, bright, 3, seed=0, starts=starts)
    slow, _ = tuner(Cell(4, 1))[1].scores
    expected = out_of_fold(
        finetuner.variants([Method(strategy=Scratch(), learning_rate=0.001)])[0],
        bright,
        labelled(bright.ranks[1], 4),
        3,
        seed=0,
        names=("4-1",),
        start=starts[1],
    )
    assert slow == (expected.accuracy, expected.log_loss)


# Training that diverges


def test_a_combination_that_diverges_is_not_chosen(linear_network, bright):
    method = Method(strategy=Full(), grid={"learning_rate": (1e38, 0.1)})
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 3, seed=0)
    result = tuner(Cell(4, 0))[1]
    assert (result.best, result.scores[0]) == (1, None)
    assert result.record["scores"][0] is None


def test_where_all_of_them_diverge_it_is_an_error(linear_network, bright):
    method = Method(strategy=Full(), grid={"learning_rate": (1e38, 2e38)})
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 3, seed=0)
    with pytest.raises(DivergedError, match="lower learning_rate"):
        tuner(Cell(4, 0))


# The cells


def test_a_tuned_cell_is_that_of_a_method_with_the_chosen_values(linear_network, bright):
    start = linear_network.weights()
    grid = {"learning_rate": (1e-9, 0.1), "strength": (0.5, 0.0)}
    method = Method(strategy=Full(), penalty=L2SP(strength=9.0), grid=grid)
    finetuner = Finetuner(linear_network, method, RECIPE)
    tuner = Tuner(finetuner, bright, 3, seed=0)
    tuned = {
        cell: finetuned
        for cell, finetuned, _ in finetune_cells(finetuner, bright, (2, 4), 2, seed=0, tune=tuner)
    }
    assert tuned[Cell(2, 0)].tuning.chosen == {"learning_rate": None, "strength": 9.0}
    assert {tuned[Cell(4, r)].tuning.chosen["learning_rate"] for r in (0, 1)} == {0.1}
    for cell, finetuned in tuned.items():
        linear_network.assign(start)
        plain = Finetuner(linear_network, method.with_values(finetuned.tuning.chosen), RECIPE)
        cells = finetune_cells(plain, bright, (cell.labels_per_class,), cell.repeat + 1, seed=0)
        *_, (_, untuned, _) = cells
        assert untuned.tuning is None
        assert untuned.curve == finetuned.curve
        assert same(untuned.weights, finetuned.weights)


def test_steps_are_compiled_once_where_only_the_rate_differs(linear_network, bright, monkeypatch):
    built = []

    class Counted(finetuning.TrainingLoop):
        def __init__(self, *given, **rest):
            built.append(given[3].strength)
            super().__init__(*given, **rest)

    monkeypatch.setattr(finetuning, "TrainingLoop", Counted)
    grid = {"learning_rate": (0.01, 0.1), "strength": (0.5, 0.1)}
    method = Method(strategy=Full(), penalty=L2(strength=0.1), grid=grid)
    tuner = Tuner(Finetuner(linear_network, method, RECIPE), bright, 3, seed=0)
    for repeat in (0, 1):
        tuner(Cell(4, repeat))
    assert sorted(built) == [0.1, 0.5]


def test_what_a_penalty_measures_on_the_source_is_measured_once_for_all_rates(
    linear_network, bright
):
    measured = []

    class Measuring(L2):
        measures = "source"

        def measure(self, evidence):
            measured.append(self.strength)
            return {}

    grid = {"learning_rate": (0.01, 0.1)}
    method = Method.model_construct(
        strategy=Full(),
        penalty=Measuring(strength=0.1),
        batch_norm="frozen",
        learning_rate=None,
        wise_ft=None,
        grid=grid,
    )
    tried = [method.model_copy(update={"learning_rate": rate, "grid": None}) for rate in (0.1, 0.2)]
    for finetuner in Finetuner(linear_network, method, RECIPE, object()).variants(tried):
        bright.train(finetuner, labelled(bright.ranks[0], 4), np.random.default_rng(0))
    assert measured == [0.1]


# The account

GRID = [{"c": 0.1}, {"c": 1.0, "wise_ft": None}, {"c": 10}]


def rows(**best):
    """Return a cell per place in the grid, by budget; None where the defaults stand."""
    return [
        {
            "labels_per_class": int(budget.removeprefix("of_")),
            "tuning": {"folds": 0} if place is None else {"folds": 3, "best": place},
        }
        for budget, places in best.items()
        for place in places
    ]


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        (
            rows(of_1=[None, None], of_2=[None, None], of_5=[1, 2], of_9=[1, 0]),
            "4 of 8 cells tuned over 3 combinations, most often to c 1.0, wise_ft None (2 of 4); "
            f"at 1 and 2 labels per class the defaults stand ({REASON})",
        ),
        (
            rows(of_1=[None, None]),
            f"0 of 2 cells tuned over 3 combinations; at 1 label per class the defaults stand "
            f"({REASON})",
        ),
        (rows(of_5=[2]), "1 of 1 cells tuned over 3 combinations, most often to c 10 (1 of 1)"),
    ],
    ids=["some", "none", "all"],
)
def test_the_account_says_what_was_chosen_and_where_the_defaults_stand(cells, line):
    assert account(GRID, cells) == line
