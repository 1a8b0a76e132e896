import os
import platform
import subprocess
import sys
import time

import psutil
import pytest

from graft.core.tracking.invocation import Process, commit, invocation, is_dirty


def this_process():
    return Process.of(psutil.Process())


def test_a_process_is_read_back_from_its_text():
    process = Process("my host", 12, 1700000000.25)
    assert str(process) == "my host 12 1700000000.25"
    assert Process.parse(str(process)) == process


def test_this_process_is_alive():
    assert this_process().alive
    assert Process.parse(str(this_process())).alive


def test_a_process_that_ended_is_not_alive():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = Process.of(psutil.Process(child.pid))
        assert process.alive
        child.kill()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not process.alive
    assert not process.alive


def test_a_process_that_got_the_number_of_another_is_another():
    assert not Process(platform.node(), os.getpid(), this_process().created - 60).alive


def test_a_process_of_another_machine_is_presumed_alive_for_a_week():
    assert Process("elsewhere", 1, time.time() - 6 * 24 * 3600).alive
    assert not Process("elsewhere", 1, time.time() - 8 * 24 * 3600).alive


SCRIPT = """
import json
from graft.core.tracking.invocation import invocation
found = invocation()
print(json.dumps(found and [found.process.pid, found.name, found.command]))
"""


def run_below(command, **environment):
    """Run a command in whose shell a stage asks for its invocation."""
    env = {**os.environ, "STAGE": sys.executable, "SCRIPT": SCRIPT, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_a_stage_run_by_hand_has_no_invocation(no_tracking_settings):
    assert run_below(["sh", "-c", '"$STAGE" -c "$SCRIPT"']) == "null\n"
    assert invocation() is None


@pytest.fixture
def dvc(tmp_path):
    """Something named dvc that runs a stage as DVC does: in a shell, with DVC_STAGE set."""
    script = tmp_path / "dvc"
    script.write_text(
        "import os, subprocess\nprint(os.getpid(), flush=True)\n"
        'subprocess.run(\'"$STAGE" -c "$SCRIPT"; true\', shell=True, '
        "env={**os.environ, 'DVC_STAGE': 'prepare'})\n"
    )
    return [sys.executable, str(script)]


def test_a_stage_finds_the_dvc_that_runs_it(dvc, no_tracking_settings):
    arguments = ["exp", "run", "-S", "hub.token=x7", "-S", "a=b c"]
    pid, found = run_below([*dvc, *arguments]).splitlines()
    command = "dvc exp run -S hub.token=*** -S 'a=b c'"
    assert found == f'[{pid}, "{command}", "{command}"]'


def test_an_invocation_has_the_name_of_its_experiment(dvc, no_tracking_settings):
    pid, found = run_below([*dvc, "repro"], DVC_EXP_NAME="rusty-gate").splitlines()
    assert found == f'[{pid}, "rusty-gate", "dvc repro"]'


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for name in ("code.py", "metrics.json"):
        (tmp_path / name).write_text("one")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "one"], check=True)
    return tmp_path


def test_the_commit_is_that_which_is_checked_out(repository):
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert commit() == head.stdout.strip()


def test_a_checkout_is_dirty_where_a_tracked_file_differs(repository):
    assert not is_dirty([])
    (repository / "new.py").write_text("new")
    assert not is_dirty([])
    (repository / "code.py").write_text("two")
    assert is_dirty([])


def test_what_the_pipeline_writes_makes_nothing_dirty(repository):
    (repository / "metrics.json").write_text("two")
    assert is_dirty([])
    assert not is_dirty(["metrics.json", "models"])


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (commit(), is_dirty([])) == ("", False)
