"""The recorder: brings to MLflow what the stages tell, while they run.

Without an option it goes on as long as a stage or an invocation of DVC does. ``--once`` delivers
what has ended, ``--check`` looks whether the store can be used.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from graft.core.errors import reported
from graft.core.tracking.spool import Spool

if TYPE_CHECKING:
    from graft.recording.delivery import Delivery

_PAUSE = 0.2
# It works beside the stages, which come first: they wait for it at their end alone.
_NICENESS = 5


def main(option: str = "") -> None:
    """Record, once or as long as there is something to."""
    spool = Spool.here()
    match option:
        case "--check":
            check(spool)
        case "--once":
            deliver_once(spool)
        case _:
            record(spool)


def check(spool: Spool) -> None:
    """Open the store."""
    from graft.recording.store import Store

    with spool.delivering():
        Store(spool)


def deliver_once(spool: Spool) -> None:
    """Deliver the runs that have ended."""
    from graft.recording.delivery import Delivery
    from graft.recording.store import Store

    with spool.delivering():
        Delivery(Store(spool), spool).step(ended_only=True)


def record(spool: Spool) -> None:
    """Deliver what comes until nothing is left to come, unless another recorder does it."""
    try:
        with spool.recorder_lock():
            _step_back()
            from graft.recording.delivery import Delivery
            from graft.recording.store import Store

            with spool.delivering():
                delivery = Delivery(Store(spool), spool)
            while _stepped(delivery, spool):
                time.sleep(_PAUSE)
    except Timeout:
        return


def _step_back() -> None:
    os.nice(_NICENESS)
    # Linux may schedule whole sessions, and the recorder has its own: then its niceness counts
    # for nothing beside the stages, and that of its session does.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def _stepped(delivery: "Delivery", spool: Spool) -> bool:
    with spool.delivering():
        return delivery.step()


if __name__ == "__main__":
    with reported():
        main(*sys.argv[1:])
