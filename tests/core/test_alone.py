import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from graft.core.alone import alone

ROOT = Path(__file__).parents[2]

OTHER = """
import sys
from graft.core.alone import alone

with alone("scratch"):
    print("at it", flush=True)
    sys.stdin.read()
    open("done", "w").close()
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another process that is at `scratch` until it is let go."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "at it\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_stage_waits_for_the_process_that_a_killed_run_left_behind(other, tmp_path, capsys):
    with alone("finetune", "a", "full"):
        assert capsys.readouterr().err == ""
    Timer(0.2, other.stdin.close).start()
    with alone("scratch"):
        assert (tmp_path / "done").exists()
    assert "is still at scratch; waiting for its end" in capsys.readouterr().err


def test_a_process_that_is_killed_holds_up_nobody(other, tmp_path):
    other.kill()
    other.wait()
    with alone("scratch"):
        assert not (tmp_path / "done").exists()


def test_outside_a_repository_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with alone("scratch"):
        assert list(tmp_path.iterdir()) == []
