"""One process at a time works on a stage's outputs."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(*stage: str) -> Iterator[None]:
    """Wait until no other process is at the same stage in this working directory.

    Where DVC was killed and its stage was not, the stage goes on, and DVC takes that for done
    with: its own lock goes by the process of DVC. The two would write the same outputs at once.

    Parameters
    ----------
    stage
        Its name, and what it works on. Outside a DVC repository nothing is waited for.
    """
    if not Path(".dvc").is_dir():
        yield
        return
    path = Path(".dvc", "tmp", "graft", "locks", f"{'-'.join(stage)}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    # The kernel lets go of the lock when the process ends, however it does.
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"graft: a process that an earlier run left behind is still at {' '.join(stage)}; "
                "waiting for its end",
                file=sys.stderr,
                flush=True,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
