"""What an interrupted run of a stage had finished, for the next run to take up.

A checkpoint is a folder of named arrays in ``.dvc/tmp`` of the original repository: outside the
outputs of every stage, which DVC deletes before it runs one, and outside the copies in which its
experiments run. The folder is named by what the stage's result depends on, so that whatever is
found under a name is what this run would compute, to the byte. That is why nothing is locked:
two processes at the same work write the same files, each whole, and may read each other's.

Nothing is forced to the disk. A kill loses nothing that was written; what a power cut tears is
told by its checksums and computed again.
"""

import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graft.compute.section import device_here
from graft.core.artifacts import load_arrays, save_arrays
from graft.core.errors import GraftError
from graft.core.fingerprint import Fingerprint

Arrays = dict[str, npt.NDArray[Any]]

_KEPT_DAYS = 30
_KEPT_BYTES = 4 * 2**30
# A training saves its state at most this often, and spends at most this share of its time on it.
_SECONDS = 1.0
_SHARE = 0.01
_CONTENTS = "contents"
_STATE = ".state"
_NUMERICS = ("tensorflow", "keras", "numpy", "scipy", "scikit-learn")


class Checkpoint:
    """The finished work of one stage, by name.

    Parameters
    ----------
    folder
        Where it lies; it is made when something is first written. None: nothing is kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._failed = False

    @property
    def keeps(self) -> bool:
        """Whether anything that is written is kept."""
        return self._folder is not None

    def remembered(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return what an interrupted run computed under `name`; otherwise compute and keep it.

        `name` is a file's name, and says all that sets this work apart from the stage's other
        work.
        """
        found = self.read(name)
        if found is None:
            found = compute()
            self.write(name, found)
        return found

    def training(self, name: str) -> "Training":
        """Return what one long training saves its state to, and goes on from."""
        return Training(self, f"{name}{_STATE}")

    def finished(self) -> int:
        """Return how many results are kept."""
        files = self._folder.glob("[!.]*.npz") if self._folder else ()
        return sum(not file.stem.endswith(_STATE) for file in files)

    def read(self, name: str) -> Arrays | None:
        """Return the arrays kept under `name`; None where there are none that can be trusted."""
        if self._folder is None or not (path := self._folder / f"{name}.npz").exists():
            return None
        try:
            arrays = load_arrays(path)
            contents = arrays.pop(_CONTENTS).tolist()
        except (GraftError, KeyError) as error:
            _note(f"an interrupted run left what cannot be taken up; it is computed anew: {error}")
            return None
        if contents != self._contents(name, arrays):
            _note(f"{path} is not what it is called; it is computed anew")
            return None
        return arrays

    def write(self, name: str, arrays: Arrays) -> None:
        """Keep `arrays` under `name`. Where that fails, a note says so and nothing else happens."""
        if self._folder is None:
            return
        # A name of its own: another process may be at the same work.
        own = self._folder / f".{uuid.uuid4().hex}.npz"
        try:
            save_arrays(own, {_CONTENTS: np.array(self._contents(name, arrays)), **arrays})
            own.replace(self._folder / f"{name}.npz")
        except (OSError, GraftError) as error:
            if not self._failed:
                _note(f"an interrupted run could not be taken up from here: {error}")
            self._failed = True

    def _contents(self, name: str, arrays: Arrays) -> list[str]:
        """Return what a file says that it holds: a torn directory of a zip can lose arrays."""
        return [f"{self._folder.name}/{name}" if self._folder else name, *arrays]


class Training:
    """The state of one long training, saved every so often.

    Attributes
    ----------
    step
        The step after which training goes on; 0 for one that begins.
    noted
        What its observer found out after which step, saved and restored with the rest.
    """

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self._checkpoint = checkpoint
        self._name = name
        self._pause = _SECONDS
        self._saved_at = time.monotonic()
        self.step = 0
        self.noted: dict[int, float] = {}
        self.state = checkpoint.read(name)
        """What an interrupted run saved last, to begin with; None where there is nothing."""
        if self.state is not None:
            self.step = int(self.state.pop("step"))
            steps, values = (self.state.pop(f"noted/{part}") for part in ("steps", "values"))
            self.noted.update(zip(steps.tolist(), values.tolist(), strict=True))
            print(f"taking up an interrupted training after step {self.step}", flush=True)

    def save(self, step: int, state: Callable[[], Arrays]) -> None:
        """Save the state after `step`, unless that was done only just now.

        The time decides what is on the disk, and never what is computed.
        """
        started = time.monotonic()
        if not self._checkpoint.keeps or started - self._saved_at < self._pause:
            return
        noted = {
            "step": np.array(step),
            "noted/steps": np.array(list(self.noted), np.int64),
            "noted/values": np.array(list(self.noted.values()), np.float64),
        }
        self._checkpoint.write(self._name, {**noted, **state()})
        self._saved_at = time.monotonic()
        self._pause = max(_SECONDS, (self._saved_at - started) / _SHARE)


@contextmanager
def kept(made_of: Fingerprint | None) -> Iterator[Checkpoint]:
    """Yield the checkpoint of a stage; remove it when the block, its outputs included, succeeds.

    Outside a DVC repository nothing is kept.

    Parameters
    ----------
    made_of
        What the stage's result depends on. The checkpoint's name is that, and what else decides
        the result to the byte: the libraries and the processor.
    """
    root = Path(os.environ.get("DVC_ROOT") or Path.cwd())
    if made_of is None or not (root / ".dvc").is_dir():
        yield Checkpoint()
        return
    everything = root / ".dvc" / "tmp" / "graft" / "checkpoints"
    _forget_old(everything)
    inputs = f"{made_of.digest} {_numerics()}"
    folder = everything / hashlib.sha256(inputs.encode()).hexdigest()[:32]
    checkpoint = Checkpoint(folder)
    if finished := checkpoint.finished():
        print(f"taking up an interrupted run: {finished} of its results are kept", flush=True)
    yield checkpoint
    shutil.rmtree(folder, ignore_errors=True)


def _numerics() -> str:
    """Return what the last bits of a result hang on beside code, parameters and data."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    processor = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    settings = {k: v for k, v in os.environ.items() if k.startswith(("TF_", "CUDA_", "OMP_"))}
    versions = [sys.version, *(version(library) for library in _NUMERICS)]
    processors = len(os.sched_getaffinity(0))
    device = device_here() if "tensorflow" in sys.modules else None
    return json.dumps([processor, processors, device, settings, versions], sort_keys=True)


def _forget_old(everything: Path) -> None:
    """Remove the checkpoints of runs that were never taken up: the old, and the oldest of many."""
    found = []
    for folder in everything.glob("*"):
        try:
            size = sum(path.stat().st_size for path in folder.iterdir())
            found.append((time.time() - folder.stat().st_mtime, size, folder))
        except OSError:  # another process removed it meanwhile
            continue
    newer = 0
    for age, size, folder in sorted(found):
        if age > _KEPT_DAYS * 86400 or newer > _KEPT_BYTES:
            shutil.rmtree(folder, ignore_errors=True)
        newer += size


def _note(text: str) -> None:
    print(f"graft: {text}", file=sys.stderr, flush=True)
