import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from graft.evaluation.arms import Arm
from graft.evaluation.report import answer_table, summary
from graft.scores.comparison import Comparison

ROOT = Path(__file__).parents[2]
HEADLINE = [
    "verdict",
    "source",
    "method",
    "labels_per_class",
    "target_accuracy",
    "scratch_accuracy",
    "transfer_gain",
    "transfer_gain_low",
    "transfer_gain_high",
    "labels_saved",
]


def comparison(source, budget, gain):
    return Comparison(
        source,
        "full",
        budget,
        2,
        0.5 + gain,
        0.5,
        gain,
        gain - 0.1,
        gain + 0.1,
        "helped",
        None,
        None,
        None,
    )


def test_the_summary_is_the_columns_of_exp_show():
    assert list(summary(comparison("a", 1, 0.25)).items()) == list(
        zip(
            HEADLINE,
            ["helped", "a", "full", 1, 0.75, 0.5, 0.25, 0.15, 0.35, None],
            strict=True,
        )
    )


def test_the_committed_answer_has_these_columns():
    assert list(json.loads((ROOT / "metrics/evaluate.json").read_text())) == HEADLINE


def printed(arms, compared):
    console = Console(file=io.StringIO(), width=120)
    console.print(answer_table(arms, compared, 0.95))
    return [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in console.file.getvalue().splitlines()
        if line.startswith("│")
    ]


@pytest.fixture
def scratch():
    half = np.tile([True, False], (2, 1))
    return Arm("", "scratch", correct={1: half, "all": half})


def arm(source):
    right = np.ones((2, 2), bool)
    return Arm(source, "full", correct={1: np.array([[True, True], [True, False]]), "all": right})


def test_the_table_goes_budget_by_budget_with_the_control_first(scratch):
    rows = [comparison("a", 1, 0.25), comparison("a", "all", 0.5)]
    assert printed([scratch, arm("a")], {"a full": rows}) == [
        ["1", "scratch", "50.0 %", "", "", ""],
        ["", "full", "75.0 %", "+25.0", "+15.0 to +35.0", "helped"],
        ["all", "scratch", "50.0 %", "", "", ""],
        ["", "full", "100.0 %", "+50.0", "+40.0 to +60.0", "helped"],
    ]


def test_several_sources_have_a_column(scratch):
    compared = {f"{s} full": [comparison(s, 1, 0.25)] for s in "ab"}
    assert printed([scratch, arm("a"), arm("b")], compared)[:3] == [
        ["1", "", "scratch", "50.0 %", "", "", ""],
        ["", "a", "full", "75.0 %", "+25.0", "+15.0 to +35.0", "helped"],
        ["", "b", "full", "75.0 %", "+25.0", "+15.0 to +35.0", "helped"],
    ]


def test_a_narrow_terminal_shows_names_whole_and_words_unbroken(scratch):
    sources = ("distorted_letters", "distorted_digits")
    unsure = {s: replace(comparison(s, 1, 0.25), verdict="inconclusive") for s in sources}
    compared = {f"{s} full": [row] for s, row in unsure.items()}
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(answer_table([scratch, *map(arm, sources)], compared, 0.95))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "inconclusive" in text
    for source in sources:
        folded = [line.split("│")[2].strip() for line in text.splitlines() if "│" in line]
        assert source in "".join(folded)
