from graft.finetuning.methods import Method, ScratchSection
from graft.penalties.l2 import L2
from graft.penalties.l2_sp import L2SP
from graft.strategies.base import Strategy
from graft.strategies.full import Full
from graft.strategies.layerwise import Layerwise
from graft.strategies.lp_ft import LPFT
from graft.strategies.probe import Probe

L2_SP = {"strategy": Full(), "penalty": L2SP(strength=0.01, scope="all")}


def test_without_a_grid_there_is_nothing_to_combine():
    method = Method(strategy=Full())
    assert (method.combinations, method.own_values) == ((), {})


def test_the_last_name_varies_fastest():
    grid = {"learning_rate": (0.1, 0.01), "strength": (1.0, 2.0)}
    assert [tuple(each.values()) for each in Method(**L2_SP, grid=grid).combinations] == [
        (0.1, 1.0),
        (0.1, 2.0),
        (0.01, 1.0),
        (0.01, 2.0),
    ]


def test_values_are_put_where_they_belong():
    grid = {"learning_rate": [0.1], "strength": [5], "decay": [0.5], "wise_ft": [0.9]}
    method = Method(strategy=Layerwise(), penalty=L2SP(strength=0.01, scope="all"), grid=grid)
    assert method.with_values(method.combinations[0]) == Method(
        strategy=Layerwise(decay=0.5),
        penalty=L2SP(strength=5.0, scope="all"),
        learning_rate=0.1,
        wise_ft=0.9,
    )


def test_several_values_of_one_part():
    method = Method(strategy=LPFT(), grid={"c": (0.5,), "rate": (0.2,)})
    assert method.with_values(method.combinations[0]).strategy == LPFT(c=0.5, rate=0.2)


def test_the_control_is_tuned_as_a_method():
    section = ScratchSection(
        penalty=L2(strength=0.1), grid={"strength": (1.0, 2.0), "learning_rate": (0.5,)}
    )
    assert section.method.combinations == section.combinations
    assert section.own_values == {"strength": 0.1, "learning_rate": None}
    assert [section.method.with_values(c) for c in section.combinations] == [
        ScratchSection(penalty=L2(strength=s), learning_rate=0.5).method for s in (1.0, 2.0)
    ]


def test_a_name_that_two_parts_share_is_told_apart():
    class Sized(Strategy):
        name: str = "sized"
        strength: float = 3.0

        def phases(self, blocks):
            return ()

    method = Method.model_construct(strategy=Sized(), penalty=L2(strength=0.1))
    assert {name for name in method._places if "strength" in name} == {
        "strategy.strength",
        "penalty.strength",
    }


def test_where_nothing_is_chosen_the_own_values_stand():
    assert Method(strategy=Probe(c=3.0), grid={"c": (1.0, 2.0)}).own_values == {"c": 3.0}
