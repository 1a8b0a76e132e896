"""Every state of dvc.lock as runs in MLflow: `graft record`.

DVC restores a stage from its cache, or leaves it as it is, without executing it, and then nothing
tells MLflow of it. Here each stage of dvc.lock is brought together, by its fingerprint, with the
run that made its results, below the run of one invocation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.fingerprint import LOCK, Fingerprint, Locked, locked, md5_of_file
from graft.recording.champion import crown
from graft.recording.delivery import Delivery
from graft.recording.store import Store, parents
from graft.tracking.redaction import redacted
from graft.tracking.spool import Spool, now
from graft.tracking.stage_run import described, flat, numbers, origin

if TYPE_CHECKING:
    from mlflow.entities import Run

_PARENT_NAME = "graft record"


@dataclass
class Recorded:
    """What `graft record` did for the stages of dvc.lock.

    Attributes
    ----------
    stages
        How many there are.
    linked
        Names of those whose run belongs to another invocation, to which a link was made.
    reconstructed
        Names of those that had no run, for which one was made from dvc.lock.
    """

    stages: int
    linked: list[str]
    reconstructed: list[str]


def record_locked(spool: Spool) -> Recorded:
    """Deliver what waits, then see that every stage of dvc.lock has its run.

    Doing it again changes nothing.

    Raises
    ------
    GraftError
        When the store cannot be opened or dvc.lock cannot be read.
    """
    stages = locked()
    with spool.delivering():
        store = Store(spool)
        Delivery(store, spool).step(ended_only=True)
        recorded = _complete(store, stages)
    note_recorded(spool)
    return recorded
