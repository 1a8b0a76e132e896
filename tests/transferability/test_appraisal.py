import json
import math

import numpy as np
import pytest

from graft.core.errors import GraftError
from graft.transferability import appraisal
from graft.transferability.appraisal import appraise, rows_to_score
from graft.transferability.base import Score
from graft.transferability.registry import SCORES
from graft.transferability.representation import Representation

HEAD = [name for name, score in SCORES.items() if score.needs_head]


def task(per_class=12, features=6, classes=3, seed=0, *, head=True):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    means = np.random.default_rng(99).standard_normal((classes, features))
    values = means[labels] + rng.standard_normal((len(labels), features))
    odds = np.exp(rng.standard_normal((len(labels), 4)) + 2 * np.eye(4)[labels])
    theta = odds / odds.sum(axis=1, keepdims=True)
    return Representation(values, theta if head else None), labels


def test_every_score_stands_beside_its_null_and_within_its_interval():
    for name, row in appraise(*task(40), seed=0).items():
        assert row.reason is None
        assert row.low <= row.value <= row.high, name
        assert row.value > row.null + 2 * row.null_sd, name
        low, high = SCORES[name].bounds
        assert low <= row.low
        assert row.high <= high


def test_all_is_in_the_order_of_the_registry_and_names_are_in_their_own():
    assert list(appraise(*task(), seed=0)) == list(SCORES)
    names = ("nce", "knn")
    some = appraise(*task(), names, seed=0)
    assert list(some) == list(names)
    everything = appraise(*task(), seed=0)
    assert some == {name: everything[name] for name in names}


def test_equal_seeds_give_equal_results_and_values_do_not_depend_on_them():
    first, again, other = (appraise(*task(), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["knn"].value == other["knn"].value
    assert first["knn"].null != other["knn"].null


def test_all_without_a_head_leaves_out_what_reads_it():
    rows = appraise(*task(head=False), seed=0)
    for name, row in rows.items():
        assert (row.value is None) == (name in HEAD)
    assert rows["leep"].row() == {
        "value": None,
        "null": None,
        "null_sd": None,
        "low": None,
        "high": None,
        "reason": "the source has no head whose probabilities could be read",
    }
    assert set(rows["knn"].row()) == {"value", "null", "null_sd", "low", "high"}


def test_a_score_asked_for_by_name_without_its_head_is_an_error():
    with pytest.raises(GraftError) as caught:
        appraise(*task(head=False), ("knn", "leep", "nce"), seed=0)
    assert str(caught.value) == (
        "transfer.scores: leep, nce read the probabilities of the source's head, and this source "
        "has none; leave them out, or set transfer.scores: all, which leaves out what cannot be "
        "had"
    )


def test_one_class_is_an_error():
    representation, labels = task()
    with pytest.raises(GraftError, match=r"received 36 labels of one class; .* at least 2"):
        appraise(representation, np.zeros_like(labels), seed=0)


def test_labels_of_other_examples_are_refused():
    with pytest.raises(ValueError, match="expected one each"):
        appraise(task()[0], np.arange(5), seed=0)


def test_one_permutation_has_no_spread():
    with pytest.raises(ValueError, match="1 permutations; expected at least 2"):
        appraise(*task(), seed=0, permutations=1)


def test_one_label_a_class_has_no_neighbours_and_no_intervals():
    rows = appraise(*task(per_class=1), seed=0)
    assert rows["knn"].reason == "needs 2 labels of each class, received 1"
    assert rows["h_score"].reason.startswith("3 examples of 6 features")
    assert rows["logme"].value is not None
    assert all(row.low is None and row.high is None for row in rows.values())


def test_two_labels_a_class_have_intervals_where_one_is_enough():
    rows = appraise(*task(per_class=2), seed=0)
    assert rows["logme"].low < rows["logme"].high
    assert rows["leep"].low < rows["leep"].high
    assert rows["knn"].value is not None
    assert rows["knn"].low is None


def test_json_takes_every_result():
    for given in (task(), task(head=False), task(per_class=1)):
        rows = {name: row.row() for name, row in appraise(*given, seed=0).items()}
        json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("name", SCORES)
def test_intervals_cover_the_score_expected_of_another_draw(name):
    """95 % intervals cover between 88 and 100 % of 200 draws (they are approximate)."""
    expected = np.mean(
        [SCORES[name].compute(*task(20, 4, seed=seed)) for seed in range(1000, 2000)]
    )
    covered = 0
    for seed in range(200):
        row = appraise(*task(20, 4, seed=seed), (name,), seed=seed, permutations=2)[name]
        covered += row.low <= expected <= row.high
    assert covered / 200 >= 0.88


def test_rows_to_score_are_all_of_few_and_a_stratified_share_of_many():
    labels = np.repeat([0, 1, 2], [6, 60, 30])
    ranks = np.concatenate([np.random.default_rng(0).permutation(k) for k in (6, 60, 30)])
    assert np.array_equal(rows_to_score(labels, ranks, 96), np.arange(96))
    rows = rows_to_score(labels, ranks, 32)
    assert np.array_equal(np.bincount(labels[rows]), [2, 20, 10])
    assert np.all(ranks[rows] < np.array([2, 20, 10])[labels[rows]])
    # Whoever is scored with a lower limit is scored with a higher one.
    assert set(rows_to_score(labels, ranks, 16)) <= set(rows)
    assert np.array_equal(np.bincount(labels[rows_to_score(labels, ranks, 2)]), [2, 2, 2])


def test_the_interval_of_a_mean_is_that_of_its_standard_error(monkeypatch):
    mean = Score(lambda representation, _: float(representation.features.mean()))
    monkeypatch.setattr(appraisal, "SCORES", {"mean": mean})
    representation = Representation(np.random.default_rng(0).standard_normal((400, 1)))
    row = appraise(representation, np.arange(400) % 2, seed=0, groups=200)["mean"]
    error = representation.features.std(ddof=1) / math.sqrt(400)
    assert (row.high - row.low) / 2 == pytest.approx(1.97 * error, rel=0.1)
