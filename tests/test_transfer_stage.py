"""The transfer stage on a tiny task: what it says of the source, and what it reads for that."""

import shutil
from contextlib import nullcontext
from unittest.mock import Mock

import numpy as np
import pytest

from graft.core.artifacts import load_array, load_json, save_model
from graft.core.errors import GraftError
from graft.core.prepared import Examples, write_target
from graft.transferability.appraisal import Appraisal
from graft.transferability.ranking import read_appraisals
from graft.transferability.registry import SCORES
from stages import transfer

PARAMS = """\
seed: 3
network: {name: small_cnn, width: 2, image_size: 8, channels: 1}
transfer: {scores: SCORES}
compute: {}
"""


@pytest.fixture
def recorded():
    """Return what stands in for the MLflow run."""
    return Mock()


@pytest.fixture
def stage(tmp_path, monkeypatch, small_network, recorded):
    """Return a function that runs the stage with the scores asked for and reads its metrics."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transfer.tracking, "run", lambda *_, **__: nullcontext(recorded))
    rng = np.random.default_rng(0)
    labels = (np.arange(40) % 2).astype(np.int32)
    inputs = rng.integers(0, 128, (40, 8, 8, 1), np.uint8)
    inputs[labels == 1, :4] += 100
    write_target(
        transfer.TARGET,
        Examples(inputs, labels, ("dog", "elk")),
        kind="image",
        labels_per_class=(1, 6),
        repeats=2,
        test_fraction=0.5,
        seed=0,
    )
    save_model(transfer.SOURCES / "animals.keras", small_network.model, ("ant", "bee", "cow"))

    def run(scores="all"):
        (tmp_path / "params.yaml").write_text(PARAMS.replace("SCORES", scores))
        transfer.main("animals")
        return load_json(transfer.METRICS / "animals.json")

    return run


def test_it_scores_the_largest_budget_of_the_first_repeat(stage, capsys):
    metrics = stage()
    assert metrics["examples"] == 12
    assert list(metrics["transferability"]) == list(SCORES)
    scores = read_appraisals(transfer.METRICS, ["animals"])["animals"]
    features = load_array(transfer.FEATURES / "animals" / "train.npy")
    ranks = load_array(transfer.TARGET / "train" / "label_ranks.npy")
    labels = load_array(transfer.TARGET / "train" / "labels.npy")
    rows = np.flatnonzero(ranks[0] < 6)
    nearest = []
    for row in rows:
        others = rows[rows != row]
        distances = np.linalg.norm(features[others] - features[row], axis=1)
        nearest.append(labels[others[np.argmin(distances)]] == labels[row])
    assert scores["knn"].value == np.mean(nearest)
    assert scores["leep"].value <= 0
    shown = capsys.readouterr().out
    assert "Transferability of animals, from 12 labelled examples" in shown


def test_it_needs_no_test_split_and_gives_the_same_again(stage):
    first = stage()
    shutil.rmtree(transfer.TARGET / "test")
    assert stage() == first


def test_it_computes_the_scores_asked_for(stage):
    assert list(stage("[knn, logme]")["transferability"]) == ["knn", "logme"]


def test_a_source_without_a_head_for_a_score_by_name_leaves_nothing_behind(stage, monkeypatch):
    monkeypatch.setattr(transfer, "source_probabilities", lambda *_: None)
    with pytest.raises(GraftError, match="this source has none"):
        stage("[leep]")
    assert not transfer.METRICS.exists()
    assert not transfer.INITIAL.exists()


def test_a_source_without_a_head_has_the_other_scores(stage, monkeypatch):
    monkeypatch.setattr(transfer, "source_probabilities", lambda *_: None)
    stage()
    scores = read_appraisals(transfer.METRICS, ["animals"])["animals"]
    reason = "the source has no head whose probabilities could be read"
    assert scores["leep"] == Appraisal(None, reason=reason)
    assert scores["knn"].value is not None


def test_what_is_recorded_is_what_is_written(stage, recorded):
    metrics = stage()
    del metrics["receipt"]
    recorded.metrics.assert_called_once_with(metrics)
