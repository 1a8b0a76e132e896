"""A note of the dvc.lock that is on record, so that nothing is done where nothing is to do."""

import hashlib
import json
from pathlib import Path

from graft.core.fingerprint import LOCK
from graft.core.tracking.spool import Spool


def is_noted(spool: Spool) -> bool:
    """Whether this dvc.lock is on record in this very store, and nothing waits to be delivered."""
    try:
        noted = json.loads(_note(spool).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(noted == _state(spool)) and not spool.journals()


def note(spool: Spool) -> None:
    """Note that this dvc.lock is on record."""
    _note(spool).parent.mkdir(parents=True, exist_ok=True)
    _note(spool).write_text(json.dumps(_state(spool)), encoding="utf-8")


def _note(spool: Spool) -> Path:
    return spool.folder / "recorded.json"


def _state(spool: Spool) -> dict[str, object]:
    database = spool.database
    return {
        "lock": hashlib.sha256(LOCK.read_bytes()).hexdigest() if LOCK.exists() else None,
        # A database that was deleted and made anew is another one.
        "database": database.stat().st_ino if database and database.exists() else None,
    }
