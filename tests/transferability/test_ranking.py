import io

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from scipy import stats

from graft.cli import main
from graft.core.artifacts import save_json
from graft.core.errors import GraftError
from graft.transferability.agreement import COLUMNS, agreements, kendall_tau, order_of_gains
from graft.transferability.appraisal import Appraisal
from graft.transferability.ranking import ranked, read_appraisals
from graft.transferability.tables import agreement_table, appraisal_table, ranking_table

REASON = "the source has no head whose probabilities could be read"
APPRAISALS = {
    "letters": {"logme": Appraisal(0.1, 0.0, 0.01, 0.05, 0.15), "leep": Appraisal(-2.0)},
    "digits": {"logme": Appraisal(0.3, 0.0, 0.01, 0.25, 0.35), "leep": Appraisal(-1.0)},
    "photos": {
        "logme": Appraisal(0.2, 0.0, 0.01, 0.15, 0.25),
        "leep": Appraisal(None, reason=REASON),
    },
}


def shown(table):
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


@pytest.fixture
def folder(tmp_path):
    for source, scores in APPRAISALS.items():
        rows = {name: appraisal.row() for name, appraisal in scores.items()}
        save_json(tmp_path / f"{source}.json", {"transferability": rows})
    return tmp_path


def test_what_was_written_is_read(folder):
    assert read_appraisals(folder, list(APPRAISALS)) == APPRAISALS


def test_missing_sources_are_all_named(folder):
    with pytest.raises(GraftError, match="has no scores of a, b; `dvc repro transfer` makes them"):
        read_appraisals(folder, ["a", "digits", "b"])


@pytest.mark.parametrize("text", ["{}", "[]", '{"transferability": {"logme": {"valu": 1}}}'])
def test_a_file_without_scores_is_named(folder, text):
    (folder / "digits.json").write_text(text)
    with pytest.raises(GraftError, match=r"digits\.json holds no transferability scores"):
        read_appraisals(folder, ["digits"])


def test_the_highest_value_comes_first_and_no_value_last():
    assert ranked(APPRAISALS, "logme") == ["digits", "photos", "letters"]
    assert ranked(APPRAISALS, "leep") == ["digits", "letters", "photos"]


def test_a_score_that_was_not_computed_is_named():
    with pytest.raises(GraftError) as caught:
        ranked(APPRAISALS, "knn")
    assert str(caught.value) == (
        "knn was not computed for letters, digits, photos; add it to transfer.scores in "
        "params.yaml and run `dvc repro transfer`"
    )


def test_tables_say_what_has_no_value_and_why():
    text = shown(ranking_table(APPRAISALS, "leep"))
    places = [text.index(name) for name in ("digits", "letters", "photos")]
    assert places == sorted(places)
    assert f"photos: {REASON}" in text
    text = shown(appraisal_table("photos", APPRAISALS["photos"], 1234))
    assert "Transferability of photos, from 1,234 labelled examples" in text
    assert "0.15 to 0.25" in text
    assert f"leep: {REASON}" in " ".join(text.split())


def test_kendall_tau_is_scipys():
    rng = np.random.default_rng(0)
    for size in (2, 3, 6):
        values, gains = rng.integers(0, 4, size) + 0.5, rng.integers(0, 4, (50, size))
        wanted = [stats.kendalltau(values, row).statistic for row in gains]
        assert kendall_tau(values, gains) == pytest.approx(wanted, nan_ok=True, rel=1e-12)


def cells(accuracies, repeats=4, examples=300, seed=0):
    rng = np.random.default_rng(seed)
    return {
        source: rng.random((repeats, examples)) < accuracy
        for source, accuracy in zip(APPRAISALS, accuracies, strict=True)
    }


def test_a_ranking_that_came_true_agrees_surely():
    correct = {("probe", 5): cells([0.2, 0.8, 0.5]), ("full", "all"): cells([0.8, 0.2, 0.5])}
    rows = agreements(APPRAISALS, correct, np.random.default_rng(0), resamples=200)
    assert [row.row() for row in rows] == [
        ("logme", "probe", 5, 3, 1.0, 1.0, 1.0),
        ("logme", "full", "all", 3, -1.0, -1.0, -1.0),
        ("leep", "probe", 5, 2, 1.0, 1.0, 1.0),
        ("leep", "full", "all", 2, -1.0, -1.0, -1.0),
    ]
    assert COLUMNS[:3] == ("score", "method", "labels_per_class")


def test_gains_that_are_not_told_apart_have_a_wide_interval():
    correct = {("probe", 5): cells([0.5, 0.5, 0.5])}
    row = agreements(APPRAISALS, correct, np.random.default_rng(0), resamples=500)[0]
    assert row.kendall_tau_low <= -1 / 3
    assert row.kendall_tau_high >= 1 / 3


def test_equal_gains_have_no_tau():
    same = np.ones((2, 10), bool)
    correct = {("probe", 5): dict.fromkeys(APPRAISALS, same)}
    row = agreements(APPRAISALS, correct, np.random.default_rng(0), resamples=100)[0]
    assert (row.kendall_tau, row.kendall_tau_low, row.kendall_tau_high) == (None, None, None)


def test_the_interval_of_two_sources_is_that_of_their_difference():
    """Of two sources tau is the sign of a difference: it must be as sure as Student's t is."""
    sure, told = 0, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        chances = 0.5 + 0.1 * rng.standard_normal((2, 4, 1))
        right = rng.random((2, 4, 500)) < chances
        two = {name: APPRAISALS[name] for name in ("letters", "digits")}
        correct = {("probe", 5): dict(zip(two, right, strict=True))}
        row = agreements(two, correct, rng, resamples=200)[0]
        sure += row.kendall_tau_low == row.kendall_tau_high
        difference = right[0].mean(axis=1) - right[1].mean(axis=1)
        told += stats.ttest_1samp(difference, 0).pvalue < 0.05
    # There is no difference: one study in twenty may be sure of one.
    assert told / 300 == pytest.approx(0.05, abs=0.03)
    assert sure / 300 == pytest.approx(0.05, abs=0.04)


def test_one_candidate_has_nothing_to_be_ranked_against():
    one = {"digits": APPRAISALS["digits"]}
    correct = {("probe", 5): {"digits": np.ones((2, 10), bool)}}
    assert agreements(one, correct, np.random.default_rng(0)) == []


def test_resamples_in_parts_are_those_of_one_go(monkeypatch):
    correct = {("probe", 5): cells([0.5, 0.55, 0.5])}
    whole = agreements(APPRAISALS, correct, np.random.default_rng(0), resamples=100)
    monkeypatch.setattr("graft.transferability.agreement._COUNTS_AT_ONCE", 7 * 300)
    parts = agreements(APPRAISALS, correct, np.random.default_rng(0), resamples=100)
    assert [row.kendall_tau for row in parts] == [row.kendall_tau for row in whole]


def test_the_table_of_agreements_numbers_the_sources_by_what_came_true():
    correct = {("probe", 1): cells([0.2, 0.8, 0.5])}
    rows = agreements(APPRAISALS, correct, np.random.default_rng(0), resamples=100)
    realised = order_of_gains(list(APPRAISALS), correct["probe", 1])
    text = shown(agreement_table(rows, APPRAISALS, realised, 0.95))
    title = "Rankings against the gains of probe with 1 label per class"
    assert " ".join(text.split()).startswith(title)
    assert "By their gains: 1 digits, 2 photos, 3 letters." in text
    assert "1 > 2 > 3" in text
    assert "+1.00 to +1.00" in text


@pytest.fixture
def study(folder):
    text = """\
seed: 0
sources:
  letters: {dataset: {name: handwritten-digits}}
  digits: {dataset: {name: handwritten-digits}}
  photos: {dataset: {name: handwritten-digits}}
source: {candidates: [letters, digits, photos]}
target: {dataset: {name: handwritten-digits}, labels_per_class: [1]}
network: {name: small_cnn}
train_source: {steps: 1, learning_rate: 0.1}
methods: {probe: {strategy: {name: probe}}}
finetune: {methods: [probe], folds: 2, training: {steps: 1, learning_rate: 0.1}}
scratch: {}
transfer: {}
evaluate: {}
compute: {}
"""
    path = folder / "params.yaml"
    path.write_text(text)
    return ["rank", "--params", str(path), "--metrics", str(folder)]


def test_graft_rank_prints_the_order(study):
    result = CliRunner().invoke(main, [*study, "--by", "logme"])
    assert result.exit_code == 0
    places = [result.output.index(name) for name in ("digits", "photos", "letters")]
    assert places == sorted(places)


def test_graft_rank_answers_an_unknown_score_with_the_list(study):
    result = CliRunner().invoke(main, [*study, "--by", "logm"])
    assert result.exit_code == 2
    assert "unknown score 'logm'; expected one of: gbc," in result.output
    assert "(did you mean 'logme'?)" in result.output


def test_graft_rank_before_the_transfer_stage_says_what_to_run(study, folder):
    (folder / "photos.json").unlink()
    result = CliRunner().invoke(main, [*study, "--by", "logme"])
    assert result.exit_code == 2
    assert "has no scores of photos; `dvc repro transfer` makes them" in result.output


def test_graft_rank_imports_nothing_heavy(study):
    import subprocess
    import sys

    script = (
        "import sys\nfrom graft.cli import main\n"
        f"main({[*study, '--by', 'logme']!r}, standalone_mode=False)\n"
        "print('heavy:', *sorted({'tensorflow', 'keras', 'mlflow', 'sklearn', 'scipy'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("heavy:\n")
