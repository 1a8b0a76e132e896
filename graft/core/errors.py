"""The one exception for faults that the user can mend."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class GraftError(Exception):
    """A fault in what graft was given.

    The message says what was received, what was expected and how to mend it. The command
    line and the stages print it without a traceback and exit with status 2; every other
    exception is a bug in graft and keeps its traceback.
    """


@contextmanager
def reported() -> Iterator[None]:
    """Turn a `GraftError` into its message on standard error and exit status 2."""
    try:
        yield
    except GraftError as error:
        print(f"graft: {error}", file=sys.stderr)
        sys.exit(2)
