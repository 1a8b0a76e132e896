"""Each score against a computation of its own kind: loops, dense matrices, brute force."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from graft.core.errors import GraftError
from graft.transferability.gbc import gbc
from graft.transferability.h_score import h_score
from graft.transferability.knn import knn
from graft.transferability.leep import leep
from graft.transferability.logme import logme
from graft.transferability.nce import nce
from graft.transferability.parc import parc
from graft.transferability.registry import DEFAULT, SCORES
from graft.transferability.regularized_h_score import ledoit_wolf, regularized_h_score
from graft.transferability.representation import Representation
from graft.transferability.ridge_probe import _STRENGTHS, ridge_probe
from graft.transferability.transrate import transrate

every_score = pytest.mark.parametrize("name", SCORES)
# Examples, features, classes: more examples than features, fewer, and as many.
SHAPES = pytest.mark.parametrize("shape", [(40, 6, 3), (15, 30, 4), (20, 20, 2)], ids=str)


def task(shape=(40, 6, 3), seed=0, offset=0.5):
    """Return a representation with overlapping classes of unequal size, and the labels."""
    n, d, classes = shape
    rng = np.random.default_rng(seed)
    labels = np.minimum(np.arange(n) % (classes + 1), classes - 1)
    features = rng.standard_normal((n, d)) + rng.standard_normal((classes, d))[labels] + offset
    logits = rng.standard_normal((n, 5))
    logits[np.arange(n), labels] += 1
    odds = np.exp(logits)
    return Representation(features, odds / odds.sum(axis=1, keepdims=True)), labels


@SHAPES
def test_leep_is_the_mean_log_likelihood_of_its_classifier(shape):
    representation, labels = task(shape)
    theta = representation.source_probabilities
    n, sources = theta.shape
    logs = []
    for i in range(n):
        likelihood = 0.0
        for z in range(sources):
            same = sum(theta[j, z] for j in range(n) if labels[j] == labels[i])
            likelihood += same / sum(theta[j, z] for j in range(n)) * theta[i, z]
        logs.append(math.log(likelihood))
    assert leep(representation, labels) == pytest.approx(np.mean(logs), rel=1e-12)


@SHAPES
def test_nce_is_minus_the_conditional_entropy(shape):
    representation, labels = task(shape)
    predicted = representation.source_probabilities.argmax(axis=1)
    entropy = 0.0
    for z in set(predicted.tolist()):
        of_z = labels[predicted == z]
        entropy += len(of_z) / len(labels) * stats.entropy(np.bincount(of_z))
    assert nce(representation, labels) == pytest.approx(-entropy, rel=1e-12)


@SHAPES
def test_logme_is_the_evidence_maximised_by_an_optimiser(shape):
    representation, labels = task(shape)
    features, n = representation.features, len(labels)
    found = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)

        def cost(logs, target=target):
            alpha, beta = np.exp(logs)
            covariance = np.eye(n) / beta + features @ features.T / alpha
            return -stats.multivariate_normal.logpdf(target, cov=covariance)

        starts = [(0.0, 0.0), (4.0, 2.0), (-4.0, 4.0), (8.0, 1.0)]
        tried = [optimize.minimize(cost, x, method="Nelder-Mead", tol=1e-10) for x in starts]
        found.append(-min(result.fun for result in tried) / n)
    assert logme(representation, labels) == pytest.approx(np.mean(found), rel=1e-6)


def test_logme_without_signal_is_the_evidence_of_noise_alone():
    labels = np.array([0, 1] * 10)
    features = np.repeat(np.random.default_rng(0).standard_normal((10, 3)), 2, axis=0)
    features -= features.mean(axis=0)
    # Neither class lies along the features: alpha is infinite and beta n / |y|^2.
    noise = -(math.log(2 * math.pi / 2) + 1) / 2
    assert logme(Representation(features), labels) == pytest.approx(noise, rel=1e-6)


def between_classes(features, labels):
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    return np.cov(means.T, bias=True)


@pytest.mark.parametrize("shape", [(40, 6, 3), (60, 20, 4)], ids=str)
def test_h_score_is_the_trace_of_its_two_covariances(shape):
    representation, labels = task(shape)
    features = representation.features
    inverse = np.linalg.pinv(np.cov(features.T, bias=True))
    wanted = np.trace(inverse @ between_classes(features, labels))
    assert h_score(representation, labels) == pytest.approx(wanted, rel=1e-9)


def test_h_score_of_features_that_depend_on_each_other_uses_the_pseudo_inverse():
    representation, labels = task((40, 6, 3))
    features = representation.features
    doubled = Representation(np.hstack([features, features[:, :2] - 3, np.zeros((40, 1))]))
    assert h_score(doubled, labels) == pytest.approx(h_score(representation, labels), rel=1e-9)


@pytest.mark.parametrize("shape", [(25, 24, 5), (25, 25, 5), (25, 60, 5)], ids=str)
def test_h_score_is_the_same_for_any_labels_of_few_examples(shape):
    n, d, classes = shape
    rng = np.random.default_rng(0)
    representation = Representation(rng.standard_normal((n, d)))
    labels = np.arange(n) % classes
    for given in (labels, rng.permutation(labels)):
        assert h_score(representation, given) == pytest.approx(classes - 1, rel=1e-9)
    reason = SCORES["h_score"].obstacle(representation, labels)
    assert reason == f"{n} examples of {d} features: it needs more examples to tell labels apart"


@SHAPES
def test_regularized_h_score_uses_the_shrunk_covariance(shape):
    from sklearn.covariance import ledoit_wolf as reference

    representation, labels = task(shape)
    features = representation.features
    covariance, shrinkage = reference(features)
    wanted = np.trace(
        np.linalg.inv(covariance) @ between_classes(features, labels) * (1 - shrinkage)
    )
    assert ledoit_wolf(representation) == pytest.approx(shrinkage, rel=1e-9)
    assert regularized_h_score(representation, labels) == pytest.approx(wanted, rel=1e-9)


@SHAPES
def test_transrate_is_a_difference_of_log_determinants(shape):
    representation, labels = task(shape)
    z = representation.features - representation.features.mean(axis=0)
    z /= np.sqrt(np.mean(np.sum(z**2, axis=1)))

    def rate(part):
        return np.linalg.slogdet(np.eye(z.shape[1]) + part.T @ part / (len(part) * 1e-4))[1] / 2

    within = sum(np.mean(labels == c) * rate(z[labels == c]) for c in np.unique(labels))
    assert transrate(representation, labels) == pytest.approx(rate(z) - within, rel=1e-9)


@SHAPES
def test_gbc_sums_over_pairs_of_classes(shape):
    representation, labels = task(shape)
    total = 0.0
    for i in np.unique(labels):
        for j in np.unique(labels):
            if i == j:
                continue
            a, b = (representation.features[labels == c] for c in (i, j))
            distance = 0.0
            for unit in range(a.shape[1]):
                first, second = a[:, unit].var(), b[:, unit].var()
                v = (first + second) / 2
                distance += (a[:, unit].mean() - b[:, unit].mean()) ** 2 / (8 * v)
                distance += math.log(v / math.sqrt(first * second)) / 2
            total -= math.exp(-distance)
    assert gbc(representation, labels) == pytest.approx(total, rel=1e-9)


@SHAPES
def test_parc_is_spearmans_correlation_over_pairs(shape):
    representation, labels = task(shape)
    one_hot = np.eye(labels.max() + 1)[labels]
    of_features, of_labels = [], []
    for i in range(len(labels)):
        for j in range(i):
            pair = representation.features[[i, j]]
            of_features.append(1 - np.corrcoef(pair)[0, 1])
            of_labels.append(round(1 - np.corrcoef(one_hot[[i, j]])[0, 1], 9))
    wanted = 100 * stats.spearmanr(of_features, of_labels).statistic
    assert parc(representation, labels) == pytest.approx(wanted, rel=1e-9)


def test_parc_shares_ranks_among_distances_that_tie():
    features = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])
    labels = np.array([0, 0, 1, 1, 1])
    pairs = [(i, j) for i in range(5) for j in range(i)]
    apart = [float(np.any(features[i] != features[j])) for i, j in pairs]
    differ = [float(labels[i] != labels[j]) for i, j in pairs]
    wanted = 100 * stats.spearmanr(apart, differ).statistic
    assert parc(Representation(features), labels) == pytest.approx(wanted, rel=1e-12)


@SHAPES
def test_knn_asks_the_nearest_other_example(shape):
    representation, labels = task(shape)
    features, right = representation.features, []
    for i in range(len(labels)):
        distances = [np.linalg.norm(features[i] - x) for x in features]
        distances[i] = np.inf
        right.append(labels[np.argmin(distances)] == labels[i])
    assert knn(representation, labels) == np.mean(right)


@SHAPES
def test_ridge_probe_fits_anew_without_each_example(shape):
    from sklearn.linear_model import Ridge

    representation, labels = task(shape, offset=3.0)
    features, one_hot = representation.features, np.eye(labels.max() + 1)[labels]
    scale = np.sum((features - features.mean(axis=0)) ** 2) / min(len(labels), features.shape[1])
    errors, accuracies = [], []
    for strength in _STRENGTHS:
        predicted = np.empty_like(one_hot)
        for i in range(len(labels)):
            others = np.arange(len(labels)) != i
            model = Ridge(strength * scale, solver="cholesky")
            model.fit(features[others], one_hot[others])
            predicted[i] = model.predict(features[[i]])[0]
        errors.append(np.sum((predicted - one_hot) ** 2))
        accuracies.append(np.mean(predicted.argmax(axis=1) == labels))
    assert ridge_probe(representation, labels) == accuracies[int(np.argmin(errors))]


# Four classes of twelve examples in four directions, apart by far more than they spread; the
# source knows them as four of its five classes.
def separated():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 12)
    features = 100 * np.eye(4)[labels] + 1e-3 * rng.standard_normal((48, 4))
    return Representation(features, np.eye(5)[labels]), labels


PERFECT = {
    "leep": 0.0,
    "nce": 0.0,
    "h_score": 3.0,
    "gbc": 0.0,
    "knn": 1.0,
    "ridge_probe": 1.0,
}


@pytest.mark.parametrize(("name", "value"), PERFECT.items(), ids=PERFECT)
def test_perfect_separation_gives_the_best_value(name, value):
    representation, labels = separated()
    assert SCORES[name].compute(representation, labels) == pytest.approx(value, abs=1e-3)


def test_the_regularized_h_score_of_perfect_separation_lacks_what_shrinkage_takes():
    representation, labels = separated()
    a = ledoit_wolf(representation)
    # Three directions of equal variance, and one without any.
    wanted = 3 * (1 - a) / (1 - a + a * 3 / 4)
    assert regularized_h_score(representation, labels) == pytest.approx(wanted, rel=1e-6)


def test_perfect_separation_puts_every_like_pair_before_every_unlike_one():
    representation, labels = separated()
    same = labels[:, np.newaxis] == labels
    differ = (~same)[np.tril_indices(48, -1)].astype(float)
    # Features along four directions: unlike pairs all correlate by -1/3, up to the noise.
    noise = np.where(differ, 1, 0) + 1e-6 * np.random.default_rng(1).random(len(differ))
    wanted = 100 * stats.spearmanr(noise, differ).statistic
    assert parc(representation, labels) == pytest.approx(wanted, rel=1e-9)


@every_score
def test_true_labels_score_above_permuted_ones(name):
    representation, labels = task((200, 10, 4))
    compute, rng = SCORES[name].compute, np.random.default_rng(1)
    nulls = [compute(representation, rng.permutation(labels)) for _ in range(20)]
    assert compute(representation, labels) > max(nulls)


NULLS = {"leep": -math.log(4), "nce": -math.log(4), "parc": 0.0, "knn": 0.25}
TOLERANCES = {"leep": 0.01, "nce": 0.01, "parc": 0.5, "knn": 0.03}


@pytest.mark.parametrize(("name", "value"), NULLS.items(), ids=NULLS)
def test_permuted_labels_score_nothing(name, value):
    rng = np.random.default_rng(0)
    theta = rng.dirichlet(np.ones(3), 2000)
    representation = Representation(rng.standard_normal((2000, 5)), theta)
    score = SCORES[name].compute(representation, rng.permutation(np.arange(2000) % 4))
    assert score == pytest.approx(value, abs=TOLERANCES[name])


def test_the_h_score_of_noise_is_the_share_of_dimensions():
    rng = np.random.default_rng(0)
    representation = Representation(rng.standard_normal((1000, 100)))
    labels = np.arange(1000) % 5
    # Each of four contrasts is explained by chance to d / (n - 1).
    assert h_score(representation, labels) == pytest.approx(4 * 100 / 999, rel=0.15)


def test_leep_takes_source_classes_without_mass():
    theta = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]], float)
    assert leep(Representation(np.ones((4, 2)), theta), np.array([0, 0, 1, 1])) == 0.0
    mixed = leep(Representation(np.ones((4, 2)), theta), np.array([0, 1, 0, 1]))
    assert mixed == pytest.approx(-math.log(2), rel=1e-12)


PARTS = {
    "more examples than features": (60, 20),
    "fewer examples than features": (30, 50),
    "fewer than features, by what is left out": (60, 58),
}


@every_score
@pytest.mark.parametrize("shape", PARTS.values(), ids=PARTS)
def test_what_the_whole_knows_gives_a_part_the_values_of_its_own(name, shape):
    n, d = shape
    whole, labels = task((n, d, 3))
    # A mean far from zero, examples that tie, and a unit that only those left out vary in.
    features = whole.features + 20
    features[1] = features[4] = features[0]
    features[:, 0] = 7.0
    rows = np.flatnonzero(np.arange(n) % 10 != 3)
    features[3, 0] = 9.0
    whole = Representation(features, whole.source_probabilities)
    compute = SCORES[name].compute
    compute(whole, labels)
    alone = Representation(features[rows], whole.source_probabilities[rows])
    wanted = compute(alone, labels[rows])
    # Where nothing is left over, the evidence has no bounds and hangs on rounding.
    rel = 1e-3 if name == "logme" and n < d else 1e-9
    assert compute(whole.subset(rows), labels[rows]) == pytest.approx(wanted, rel=rel)
    # Another order, or an example twice, is no part; it is worked out anew.
    again = np.append(rows[::-1], rows[0])
    assert whole.subset(again).part is None


DEGENERATE = {
    "features that never vary": np.ones((12, 3)),
    "features that are all zero": np.zeros((12, 3)),
    "classes that are points": np.eye(3)[np.arange(12) % 3],
    "a unit that is silent but for one class": np.where(
        (np.arange(12) % 3 == 1)[:, np.newaxis], np.arange(36.0).reshape(12, 3), 0
    ),
    "one feature": np.arange(12.0)[:, np.newaxis],
    "features of the size of 1e-20": 1e-20 * np.random.default_rng(0).standard_normal((12, 3)),
    "features of the size of 1e15": 1e15 * np.random.default_rng(0).standard_normal((12, 3)),
    "a mean far from zero": 1e6 + np.random.default_rng(0).standard_normal((12, 3)),
}


@every_score
@pytest.mark.parametrize("features", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_features_give_a_number_within_the_bounds(name, features):
    labels = np.arange(12) % 3
    representation = Representation(features, np.full((12, 2), 0.5))
    value = SCORES[name].compute(representation, labels)
    low, high = SCORES[name].bounds
    assert type(value) is float
    assert math.isfinite(value)
    assert low <= value <= high


@every_score
def test_names_of_classes_and_the_order_of_examples_do_not_matter(name):
    representation, labels = task((60, 8, 3))
    order = np.random.default_rng(5).permutation(60)
    renamed = np.array([7, 2, 40])[labels]
    compute = SCORES[name].compute
    other = compute(representation.subset(order), renamed[order])
    assert other == pytest.approx(compute(representation, labels), rel=1e-9)


@every_score
def test_the_scale_of_the_features_does_not_matter(name):
    representation, labels = task((60, 8, 3))
    scaled = Representation(1000 * representation.features, representation.source_probabilities)
    compute = SCORES[name].compute
    assert compute(scaled, labels) == pytest.approx(compute(representation, labels), rel=1e-6)


@every_score
def test_features_in_single_precision_give_the_same_value(name):
    representation, labels = task((60, 8, 3))
    single = Representation(
        np.float32(representation.features), np.float32(representation.source_probabilities)
    )
    compute = SCORES[name].compute
    assert compute(single, labels) == pytest.approx(compute(representation, labels), rel=1e-4)


@every_score
def test_neither_features_nor_labels_are_modified(name):
    representation, labels = task()
    features, given = representation.features.copy(), labels.copy()
    SCORES[name].compute(representation, labels)
    assert np.array_equal(representation.features, features)
    assert np.array_equal(labels, given)


def test_the_default_is_one_of_them_and_needs_no_head():
    assert not SCORES[DEFAULT].needs_head


def test_what_does_not_depend_on_labels_is_worked_out_once():
    calls = []

    def work_out(representation):
        calls.append(representation)
        return len(calls)

    representation, _ = task()
    assert [representation.once(work_out) for _ in range(3)] == [1, 1, 1]
    assert representation.subset(np.arange(5)).once(work_out) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_of_a_source_that_diverged_are_refused(value):
    with pytest.raises(GraftError, match=r"NaN or infinite.*lower train_source\.learning_rate"):
        Representation(np.full((4, 2), value))


def test_features_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"features of shape \(4,\); expected one row an example"):
        Representation(np.ones(4))
