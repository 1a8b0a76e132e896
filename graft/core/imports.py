"""Imports of large packages, without what they do not need."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from graft.core.collector import uncollected


@contextmanager
def lean_imports(*needless: str) -> Iterator[None]:
    """Let optional packages seem not to be installed, and stop the garbage collector.

    pandas and matplotlib are imported by scikit-learn and by Keras wherever they are installed, for
    tables and plots of their own: scikit-learn takes 62 of its 162 MiB for them. What is imported
    already stays, and what seemed absent can be imported afterwards.

    Parameters
    ----------
    needless
        What the packages imported in this block do without besides.
    """
    absent = [n for n in ("matplotlib", "pandas", *needless) if n not in sys.modules]
    # None makes `import` raise ImportError (the documentation of sys.modules).
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        with uncollected():
            yield
    finally:
        for name in absent:
            del sys.modules[name]
