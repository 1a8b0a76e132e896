import pytest
from pydantic import ValidationError

from graft.strategies.base import Phase
from graft.strategies.full import Full
from graft.strategies.probe import Probe
from graft.strategies.scratch import Scratch

BLOCKS = ("block1", "block2", "head")
EVERYTHING = (Phase({"block1": 1.0, "block2": 1.0, "head": 1.0}),)


def test_full_trains_everything_at_the_same_rate_from_the_source():
    assert Full().phases(BLOCKS) == EVERYTHING
    assert (Full().start, Full().solved_head) == ("source", None)


def test_scratch_trains_everything_at_the_same_rate_from_random_weights():
    assert Scratch().phases(BLOCKS) == EVERYTHING
    assert (Scratch().start, Scratch().solved_head) == ("random", None)


def test_probe_solves_the_head_and_trains_nothing_else():
    assert Probe().phases(BLOCKS) == (Phase({"head": 1.0}),)
    assert (Probe().start, Probe().solved_head) == ("source", 1.0)
    assert Probe(c=0.25).solved_head == 0.25


def test_a_probe_without_strength_is_refused():
    with pytest.raises(ValidationError, match="greater than 0"):
        Probe(c=0.0)
