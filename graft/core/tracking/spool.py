"""Runs on their way to MLflow: one journal each, kept until MLflow has it whole.

A stage appends to its journal, which costs it next to nothing. `graft.recording` delivers the
journals: importing MLflow and opening its store take two seconds of processor time, which are
spent once for an invocation of DVC and not once for every stage.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from graft.core.errors import GraftError
from graft.core.tracking.invocation import Process, root

_SQLITE = "sqlite:///"
_LOCK_SECONDS = 60


class Journal:
    """What a stage tells of its run: one JSON object a line, each with the key ``event``.

    Large files that belong to the run lie in the folder `files`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = path.with_suffix(".files")

    @property
    def key(self) -> str:
        """What identifies the run, whoever delivers it and how often."""
        return self.path.stem

    def write(self, event: str, **content: object) -> None:
        """Append one event.

        Raises
        ------
        GraftError
            When the disk is full, or the folder cannot be written to.
        """
        line = json.dumps({"event": event, "time": now(), **content}, default=str)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise GraftError(
                f"{self.path}, the run's journal, cannot be written: {error}"
            ) from None

    def keep(self, file: Path, name: str) -> None:
        """Keep a copy of a file until the run is delivered."""
        self.files.mkdir(exist_ok=True)
        shutil.copyfile(file, self.files / name)

    @property
    def process(self) -> Process | None:
        """The process that writes it; None where that process has not told it yet."""
        for event, _ in self.read():
            return Process.parse(event["process"])
        return None

    @property
    def goes_on(self) -> bool:
        """Whether its process may write more."""
        writer = self.process
        if writer is None:
            return time.time() - self.path.stat().st_mtime < _LOCK_SECONDS
        return writer.alive

    @property
    def has_ended(self) -> bool:
        """Whether the run's end is in it."""
        return any(event["event"] == "end" for event, _ in self.read())

    def read(self, start: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield every whole event from byte `start` on, with the byte at which it ends."""
        with self.path.open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written, or cut short by a kill
                start += len(line)
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # cut short by a full disk, and then written on
                yield event, start

    def remove(self) -> None:
        """Forget the run: MLflow has it."""
        shutil.rmtree(self.files, ignore_errors=True)
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Spool:
    """The journals of one repository for one store.

    Attributes
    ----------
    root
        The original repository, also where DVC runs a stage in a copy that it deletes.
    store
        The store's address, as MLflow takes it.
    """

    root: Path
    store: str

    @classmethod
    def here(cls) -> "Spool":
        """Return that of the working directory: `MLFLOW_TRACKING_URI`, or else ``mlflow.db``."""
        here = root()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
        if uri.startswith(_SQLITE):
            # SQLAlchemy would take a relative path from whichever folder the process runs in.
            uri = f"{_SQLITE}{here / uri.removeprefix(_SQLITE)}"
        return cls(here, uri)

    @property
    def database(self) -> Path | None:
        """The store's file, where it is one."""
        is_file = self.store.startswith(_SQLITE)
        return Path(self.store.removeprefix(_SQLITE)) if is_file else None

    @property
    def folder(self) -> Path:
        """Where the journals lie. Its name tells stores apart and gives no password away."""
        return self.root / "mlflow.spool" / hashlib.sha256(self.store.encode()).hexdigest()[:12]

    def new_journal(self) -> Journal:
        """Return an empty journal."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GraftError(
                f"{self.folder}, for the runs' journals, cannot be made: {error}"
            ) from None
        return Journal(self.folder / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.jsonl")

    def journals(self) -> Sequence[Journal]:
        """Return those that wait, the oldest first."""
        return [Journal(path) for path in sorted(self.folder.glob("*.jsonl"))]

    def recorder_lock(self) -> FileLock:
        """Return the lock that a running recorder holds."""
        return FileLock(self.folder / "recorder.lock", timeout=0)

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """Hold the store for oneself: several processes that create a database at once break it.

        Raises
        ------
        GraftError
            When another process does not let go of it.
        """
        database = self.database
        path = database.with_name(f"{database.name}.lock") if database else self.folder / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=_LOCK_SECONDS)
            lock.acquire()
        except Timeout:
            raise GraftError(
                f"another process has held {path} for {_LOCK_SECONDS} s; end that process and "
                "try again"
            ) from None
        except OSError as error:
            raise GraftError(f"{path} cannot be written: {error}") from None
        try:
            yield
        finally:
            lock.release()


def now() -> int:
    """Return the time as MLflow counts it: milliseconds since 1970."""
    return int(time.time() * 1000)
