import sys

import pytest

from benchmarks.measuring import Cost, Goal, Row, alternating, cost_of, python


def test_a_ratio_is_taken_pair_by_pair():
    found = Row("wall", "s", graft=[1, 4, 3], other=[2, 2, 3], goal=Goal(1)).summary()
    assert found["ratio"] == {"median": 1, "low": 0.5, "high": 2, "each": [0.5, 2, 1]}
    assert (found["graft"]["median"], found["other"]["median"]) == (3, 2)
    assert (found["goal"], found["reached"]) == ("at most 1 x", True)


@pytest.mark.parametrize(
    ("goal", "text", "reached"),
    [
        (Goal(0.5), "at most 0.5 x", False),
        (Goal(0.5, at_least=True), "at least 0.5 x", True),
        (Goal(3, of="value"), "at most 3", True),
    ],
    ids=str,
)
def test_a_goal_is_held_against_the_ratio_or_the_value(goal, text, reached):
    found = Row("rate", "/s", graft=[3.0], other=[4.0], goal=goal).summary()
    assert (found["goal"], found["reached"]) == (text, reached)


def test_one_after_the_other_takes_both_times_and_the_larger_memory():
    assert Cost(1, 2, 30, "a") + Cost(10, 20, 3, "b") == Cost(11, 22, 30, "b")


def test_arms_take_turns():
    turns = []
    arms = [lambda name=name: turns.append(name) or Cost(1, 1, 1) for name in ("graft", "other")]
    alternating(*arms, repeats=2)
    assert turns == ["other", "graft", "other", "graft"]


def test_a_command_costs_what_its_children_cost_too(tmp_path):
    script = (
        "import subprocess, sys, time\n"
        "code = 'import time; held = bytearray(64 << 20); time.sleep(0.5)'\n"
        "subprocess.run([sys.executable, '-c', code])\n"
        "print('{\"answer\": 42}')"
    )
    cost = python("-c", script, cwd=tmp_path)
    assert cost.said == {"answer": 42}
    assert cost.wall > 0.5
    assert cost.memory > 64


def test_a_process_that_is_left_behind_counts_and_is_waited_for(tmp_path):
    script = (
        "import subprocess, sys, time\n"
        "code = 'import time\\nwhile time.process_time() < 1: pass'\n"
        "subprocess.Popen([sys.executable, '-c', code], start_new_session=True)\n"
        "time.sleep(0.3)"
    )
    cost = python("-c", script, cwd=tmp_path)
    assert cost.wall < 1
    assert cost.processor > 0.8


def test_a_command_that_fails_says_what_it_said(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)ended with 3:\nbroken"):
        cost_of(sys.executable, "-c", "print('broken'); raise SystemExit(3)", cwd=tmp_path)
