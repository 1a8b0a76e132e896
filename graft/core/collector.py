"""Python's garbage collector, kept out of the way where much is made that stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Stop the collector for a while.

    It would walk over a large package again and again while that is being imported, which takes a
    sixth of TensorFlow's import, and over a hundred thousand records, which takes half the time
    of making them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
