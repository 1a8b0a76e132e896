import pytest

from graft.scores.comparison import Comparison
from graft.scores.same_data import same_data

SOURCE = {"steps": 6250, "train_examples": 40_000, "train_shared_with_target": 40_000}


def said(verdict="inconclusive", control_steps=12_500, source=SOURCE, **changed):
    gain = {"helped": 0.02, "hurt": -0.02}.get(verdict, 0.0)
    comparison = Comparison(
        *("cifar10", "full", 4000, 1, 0.6 + gain, 0.6, gain, gain - 0.01, gain + 0.01),
        *(verdict, None, None, None),
    )
    settings = {"finetuning_steps": 6250, "every_label": True, **changed}
    return same_data(comparison, source, control_steps=control_steps, **settings)


@pytest.mark.parametrize(
    ("verdict", "claim"),
    [
        ("helped", "transfer gained something over longer training on the same data."),
        ("hurt", "nothing was gained over longer training on the same data."),
        ("equivalent", "nothing was gained over longer training on the same data."),
        (
            "inconclusive",
            "these numbers do not show that anything was gained over longer training on the same "
            "data.",
        ),
    ],
)
def test_the_same_data_for_as_many_steps(verdict, claim):
    assert said(verdict) == (
        "Source and target train on the same 40,000 examples, for 12,500 steps together; scratch "
        f"trained on them for 12,500: {claim}"
    )


def test_the_same_data_for_fewer_steps_leaves_the_question_open():
    assert said("helped", control_steps=6250) == (
        "Source and target train on the same 40,000 examples, for 12,500 steps together; scratch "
        "trained for 6,250: a gain may be that of longer training alone. Set scratch.steps to "
        "12500 to find out."
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"source": {**SOURCE, "train_shared_with_target": 39_999}},
        {"every_label": False},
    ],
    ids=["one example that the target does not label", "a budget of fewer labels"],
)
def test_other_data_are_a_matter_of_steps_alone(changed):
    assert said(**changed) == "Scratch trained for 12,500 steps, `full` for 6,250."
    assert said(control_steps=6250, **changed) is None
    assert said(finetuning_steps=0, **changed) is None
