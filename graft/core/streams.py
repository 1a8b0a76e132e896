"""Named streams of random numbers, all drawn from the one seed of params.yaml.

A stream is named by what it is for, such as ``("shuffle", "full", "5", "0")``. Streams do not
depend on the order in which they are opened, so that adding a method or a data set leaves
every other number as it was.
"""

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return NumPy's generator for one named stream of `seed`."""
    return np.random.default_rng(np.random.SeedSequence([seed, *_words(names)]))


def integer(seed: int, *names: str) -> int:
    """Return one number in [0, 2**31) for libraries that take an integer seed."""
    return int(generator(seed, *names).integers(2**31))


def _words(names: tuple[str, ...]) -> list[int]:
    # Each name is preceded by its length: ("ab", "c") and ("a", "bc") are different streams.
    text = "".join(f"{len(name)}:{name}" for name in names)
    digest = hashlib.sha256(text.encode()).digest()
    return [int.from_bytes(digest[start : start + 4], "little") for start in range(0, 32, 4)]
