import itertools

import numpy as np
import pytest

from graft.core.streams import generator, integer


def draw(*names, seed=0):
    return tuple(generator(seed, *names).integers(2**62, size=4))


def test_a_stream_has_these_numbers_on_every_machine():
    assert generator(0, "labels", "0").integers(1000, size=4).tolist() == [116, 185, 860, 466]
    assert integer(0, "initial weights") == 1660134899


def test_the_same_names_give_the_same_numbers():
    assert draw("shuffle", "5", "0") == draw("shuffle", "5", "0")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("ab",), ("a", "b")),
        (("a", "b"), ("b", "a")),
        (("1:a",), ("a",)),
        (("a", ""), ("a",)),
        ((), ("",)),
        (("12", "3"), ("1", "23")),
        (("é",), ("e",)),
    ],
    ids=str,
)
def test_other_names_give_other_numbers(one, other):
    assert draw(*one) != draw(*other)


def test_another_seed_gives_other_numbers():
    assert draw("labels", seed=0) != draw("labels", seed=1)


def test_seed_and_name_do_not_mix():
    draws = [draw(name, seed=seed) for seed, name in itertools.product(range(8), "01234567")]
    assert len(set(draws)) == 64


def test_a_stream_does_not_depend_on_what_was_drawn_before():
    before = draw("labels")
    first = generator(0, "another")
    first.random(1000)
    assert draw("labels") == before


def test_streams_of_neighbouring_names_are_uncorrelated():
    values = np.stack([generator(0, "labels", str(i)).random(2000) for i in range(10)])
    correlation = np.corrcoef(values) - np.eye(10)
    # 45 pairs; 0.1 lies 4.5 standard deviations out.
    assert np.abs(correlation).max() < 0.1


def test_an_integer_fits_what_libraries_take_as_a_seed():
    seeds = [integer(seed, "initial weights") for seed in range(200)]
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == 200
