"""Processes that want the same thing at once."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

STAGE = """
import sys
from graft.core import tracking

with tracking.run("prepare", {"number": 1}) as run:
    run.metrics({"number": 1})
    print("at work", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def stage(tmp_path):
    """Return a function that runs a stage which works until its input ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_ROOT": str(tmp_path)}
    environment.pop("MLFLOW_TRACKING_URI", None)

    def started():
        return subprocess.Popen(
            [sys.executable, "-c", STAGE],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def test_a_store_that_is_locked_for_a_while_is_waited_for(tmp_path, stage):
    first = stage()
    assert first.communicate() == ("at work\n", "")
    store = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    store.execute("BEGIN EXCLUSIVE")
    second = stage()
    # What holds the store does not hold up the work.
    assert second.stdout.readline() == "at work\n"
    second.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=3)
    store.execute("ROLLBACK")
    assert (second.stdout.read(), second.stderr.read()) == ("", "")
    assert second.wait() == 0
    rows = store.execute("SELECT status FROM runs").fetchall()
    store.close()
    assert rows == [("FINISHED",)] * 2
    second.stdout.close()
    second.stderr.close()
