import itertools

import numpy as np
import pytest

from graft.core.labels import folds, held_out, label_ranks, labelled

# Ten of class 0, four of class 1, six of class 2, mixed.
LABELS = np.random.default_rng(0).permutation([0] * 10 + [1] * 4 + [2] * 6)


@pytest.fixture
def ranks():
    return label_ranks(LABELS, repeats=3, seed=5)


def seeded():
    return np.random.default_rng(1)


def test_ranks_count_through_each_class(ranks):
    assert ranks.shape == (3, 20)
    for row in ranks:
        for label, count in ((0, 10), (1, 4), (2, 6)):
            assert sorted(row[label == LABELS]) == list(range(count))


@pytest.mark.parametrize("budget", [1, 2, 4])
def test_a_budget_has_so_many_labels_of_each_class(ranks, budget):
    for row in ranks:
        assert np.bincount(LABELS[labelled(row, budget)]).tolist() == [budget] * 3


def test_a_budget_larger_than_a_class_has_all_of_it(ranks):
    assert np.bincount(LABELS[labelled(ranks[0], 5)]).tolist() == [5, 4, 5]


def test_budgets_are_nested(ranks):
    for row in ranks:
        chosen = [set(labelled(row, budget).tolist()) for budget in (1, 2, 3, 7, "all")]
        assert all(small < large for small, large in itertools.pairwise(chosen))
        assert chosen[-1] == set(range(20))


def test_repeats_are_drawn_apart_and_do_not_depend_on_their_number(ranks):
    assert not np.array_equal(ranks[0], ranks[1])
    assert np.array_equal(label_ranks(LABELS, 1, seed=5)[0], ranks[0])
    assert not np.array_equal(label_ranks(LABELS, 1, seed=6)[0], ranks[0])


@pytest.mark.parametrize(
    ("fraction", "keep", "expected"),
    [
        (0.5, 1, [5, 2, 3]),
        (0.1, 1, [1, 1, 1]),
        (0.01, 1, [1, 1, 1]),
        (0.99, 1, [9, 3, 5]),
        (0.5, 3, [5, 1, 3]),
        (0.5, 6, [4, 1, 1]),
        (0.3, 1, [3, 1, 2]),
    ],
)
def test_so_many_of_each_class_are_held_out(fraction, keep, expected):
    mask = held_out(LABELS, fraction, seeded(), keep)
    assert (mask.shape, mask.dtype) == ((20,), bool)
    assert np.bincount(LABELS[mask], minlength=3).tolist() == expected


def test_what_is_held_out_is_drawn():
    masks = {held_out(LABELS, 0.5, np.random.default_rng(seed)).tobytes() for seed in range(5)}
    assert len(masks) == 5
    assert np.array_equal(held_out(LABELS, 0.5, seeded()), held_out(LABELS, 0.5, seeded()))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_folds_are_as_even_as_can_be_in_size_and_in_every_class(count):
    fold = folds(LABELS, count, seeded())
    assert set(fold.tolist()) == set(range(count))
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1
    for label in range(3):
        of_class = np.bincount(fold[label == LABELS], minlength=count)
        assert of_class.max() - of_class.min() <= 1


def test_folds_are_drawn():
    assert np.array_equal(folds(LABELS, 3, seeded()), folds(LABELS, 3, seeded()))
    assert not np.array_equal(
        folds(LABELS, 3, seeded()), folds(LABELS, 3, np.random.default_rng(2))
    )


def test_what_is_to_come_first_is_held_out_before_any_other():
    labels = np.repeat([0, 1], 10)
    first = np.arange(20) % 5 == 0
    few = held_out(labels, 0.1, np.random.default_rng(0), first=first)
    many = held_out(labels, 0.4, np.random.default_rng(0), first=first)
    assert few.sum() == 2
    assert not np.any(few & ~first)
    assert many.sum() == 8
    assert np.all(many[first])
    alike = held_out(labels, 0.4, np.random.default_rng(0), first=np.ones(20, bool))
    assert np.array_equal(alike, held_out(labels, 0.4, np.random.default_rng(0)))
