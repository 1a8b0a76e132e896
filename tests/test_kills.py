"""Runs that are killed at random instants and started again, beside one that is not."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


STUDY = """\
seed: 0
sources:
  low:
    dataset: {name: handwritten-digits}
    classes: [0, 1, 2]
source: {candidates: [low]}
target:
  dataset: {name: handwritten-digits}
  classes: [7, 8, 9]
  labels_per_class: [1, 3]
  repeats: 3
network: {name: small_cnn, width: 2}
compute: {precision: float32, device: auto}
train_source: {steps: 4000, learning_rate: 0.01, augmentation: {crop: 1}}
transfer: {scores: [knn]}
methods:
  probe:
    strategy: {name: probe}
  l2_sp:
    strategy: {name: full}
    penalty: {name: l2_sp, strength: 0.01}
finetune:
  methods: [probe, l2_sp]
  folds: 3
  training: {steps: 200, batch_size: 4, learning_rate: 0.01}
scratch: {}
evaluate: {resamples: 200}
"""

TRAINING = ("train_source@low", "scratch", "finetune@low-l2_sp")
"""Stages that are also killed once a part of their work is kept."""

NAMED = ("its start", "DVC alone")


class Repro:
    """`dvc repro` in a process group of its own, whose output is read as it comes."""

    def __init__(self, folder, *options):
        self._process = subprocess.Popen(
            ["dvc", "repro", *options],
            cwd=folder,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines = []
        self.began = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if found := re.match(r"Running stage '(.*)'", line):
                self.began.append((found[1], time.monotonic()))

    @property
    def running(self):
        return self._process.poll() is None

    @property
    def stage(self):
        return self.began[-1][0] if self.began else None

    def wait_until(self, reached):
        while self.running and not reached():
            time.sleep(0.02)

    def end(self):
        """Wait for the end; return when each stage began, and when all was done."""
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        return [*self.began, ("", time.monotonic())]

    def kill(self):
        """Kill DVC and its stage at once; return which stage that was, or None if all was done."""
        killed = self.stage if self.running else None
        os.killpg(self._process.pid, signal.SIGKILL)
        self.end()
        return killed

    def kill_dvc_alone(self):
        """Kill DVC; its stage goes on. Return as `kill` does."""
        killed = self.stage if self.running else None
        self._process.kill()
        self._process.wait()
        return killed


def make(folder):
    """Make a repository with the tiny study."""
    kept = [".dvcignore", ".gitignore", "dvc.yaml", "graft", "stages", ".dvc/config", ".dvc/plots"]
    for name in kept:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/.gitkeep").touch()
    (folder / "params.yaml").write_text(STUDY, encoding="utf-8")
    author = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "Start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def mend(folder, lines):
    """Do what the README says where the kill tore a file that DVC itself writes."""
    text = "\n".join(lines)
    for torn in ("dvc.lock", ".dvc/tmp/rwlock"):
        if "ERROR" in text and Path(torn).name in text:
            (folder / torn).unlink(missing_ok=True)


def kept_files(folder):
    """Return what the checkpoints hold; a file that is written again counts as another one."""
    files = (folder / ".dvc/tmp/graft/checkpoints").glob("*/*.npz")
    return {(file, file.stat().st_mtime_ns) for file in files}


def killed_once(folder, target, instant, seconds, rng):
    """Run, and kill at an instant of `target`; return the stage that was hit, and the run.

    An instant is a part of the time that the stage took when nothing was killed, or a name. Where
    the stage was faster than expected, the next one is hit at its start.
    """
    stages = list(seconds)
    repro = Repro(folder)
    repro.wait_until(lambda: repro.stage and stages.index(repro.stage) >= stages.index(target))
    before, stage = kept_files(folder), repro.stage
    if instant == "some work is kept":
        repro.wait_until(lambda: kept_files(folder) - before or repro.stage != stage)
        time.sleep(0.3 * rng.random())
    else:
        part = rng.random() if instant in NAMED else instant
        # No stage is over in 0.3 s, however much faster the machine has become.
        end = time.monotonic() + part * (0.3 if instant == "its start" else seconds[target])
        repro.wait_until(lambda: time.monotonic() >= end or repro.stage != stage)
    if not repro.running:
        return None, repro
    return (repro.kill_dvc_alone if instant == "DVC alone" else repro.kill)(), repro


def instants(stage, rng):
    """Yield when to kill in a stage: at its start, in each half, and once some of it is kept."""
    yield "its start"
    if stage == "finetune@low-probe":
        yield "DVC alone"
    if stage in TRAINING:
        yield "some work is kept"
    for half in range(2):
        yield (half + rng.random()) / 2


def campaign(folder, seconds, rng):
    """Kill a run again and again, each stage in turn; return how often each was hit, and runs.

    Parameters
    ----------
    seconds
        How long each stage takes, in the order in which DVC runs them.
    """
    hits, runs = Counter(), []
    for stage in seconds:
        for instant in instants(stage, rng):
            killed, repro = killed_once(folder, stage, instant, seconds, rng)
            print(f"{stage} at {instant}: {killed}", flush=True)
            mend(folder, repro.lines)
            hits[killed] += 1
            runs.append(repro)
    return hits, runs


def test_a_run_killed_at_any_instant_ends_in_the_same_bytes(tmp_path):
    """At least 20 kills, each stage hit, and what training had finished is taken up."""
    begun = make(tmp_path / "begun")
    unbroken = shutil.copytree(begun, tmp_path / "unbroken")
    whole = Repro(unbroken)
    began = whole.end()
    assert (unbroken / "models/target.keras").exists(), "\n".join(whole.lines)
    seconds = {stage: after - at for (stage, at), (_, after) in pairwise(began)}

    killed = shutil.copytree(begun, tmp_path / "killed")
    hits, runs = campaign(killed, seconds, np.random.default_rng(20))
    runs.append(Repro(killed))
    for run in runs:
        run.end()
    output = "\n".join(line for run in runs for line in run.lines)
    assert (killed / "dvc.lock").read_bytes() == (unbroken / "dvc.lock").read_bytes(), output
    del hits[None]
    assert set(hits) == set(seconds) > set(TRAINING), hits
    assert hits.total() >= 20, hits
    assert "taking up an interrupted training after step" in output
    assert len(re.findall(r"taking up an interrupted run: \d+ of its results", output)) >= 2
    assert "Traceback" not in output
    assert not list((killed / ".dvc/tmp/graft/checkpoints").iterdir())
