"""Which invocation of DVC a stage runs in, which process, and which code."""

import os
import platform
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from graft.core.tracking.redaction import redacted_command

# A process of another machine cannot be looked at. Its run is taken for dead after this long;
# should it end later, its end is recorded all the same.
_PRESUMED_DEAD = 7 * 24 * 3600


@dataclass(frozen=True)
class Process:
    """One process, also after its number has gone to another one.

    Attributes
    ----------
    host, pid, created
        Its machine, its number, and when it started, in seconds since 1970.
    """

    host: str
    pid: int
    created: float

    @classmethod
    def of(cls, process: psutil.Process) -> "Process":
        """Identify a running process."""
        return cls(platform.node(), process.pid, round(process.create_time(), 2))

    @classmethod
    def parse(cls, text: str) -> "Process":
        """Read what `str` gave."""
        host, pid, created = text.rsplit(" ", 2)
        return cls(host, int(pid), float(created))

    def __str__(self) -> str:
        return f"{self.host} {self.pid} {self.created:.2f}"

    @property
    def alive(self) -> bool:
        """Whether it runs; of another machine's, whether it may."""
        if self.host != platform.node():
            return time.time() - self.created < _PRESUMED_DEAD
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.created) < 1
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False


@dataclass(frozen=True)
class Invocation:
    """One invocation of DVC: `dvc repro`, or one experiment of `dvc exp run` or of a queue.

    Attributes
    ----------
    process
        DVC's own.
    name
        The experiment's name, or else the command.
    command
        As it was typed, without secrets.
    """

    process: Process
    name: str
    command: str


def invocation() -> Invocation | None:
    """Return the invocation of DVC that runs this process; None for a stage run by hand.

    DVC tells its stages who they are in ``DVC_STAGE``. The nearest ancestor that was started
    without it is DVC.
    """
    if not os.environ.get("DVC_STAGE"):
        return None
    for ancestor in _ancestors():
        try:
            if "DVC_STAGE" not in ancestor.environ():
                command = redacted_command(_from_dvc_on(ancestor.cmdline()))
                name = os.environ.get("DVC_EXP_NAME") or command
                return Invocation(Process.of(ancestor), name, command)
        except psutil.Error:
            return None
    return None


def _ancestors() -> Iterator[psutil.Process]:
    process = psutil.Process().parent()
    while process is not None:
        yield process
        process = process.parent()


def _from_dvc_on(arguments: list[str]) -> list[str]:
    """Leave out the interpreter and the folder of the command `dvc`."""
    for index, argument in enumerate(arguments):
        if Path(argument).name == "dvc":
            return ["dvc", *map(shlex.quote, arguments[index + 1 :])]
    return [shlex.quote(argument) for argument in arguments]


def root() -> Path:
    """Return the original repository: DVC names it in every mode."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def commit() -> str:
    """Return the commit that is checked out; nothing where there is no git or no commit."""
    return _git("rev-parse", "--verify", "HEAD").strip()


def is_dirty(outputs: list[str]) -> bool:
    """Whether files that git tracks differ from the commit, those below `outputs` aside."""
    aside = [f":(exclude){path}" for path in outputs]
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", *aside))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "--no-optional-locks", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout
