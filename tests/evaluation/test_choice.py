import dataclasses

import pytest

from graft.core.errors import GraftError
from graft.evaluation.arms import Arm
from graft.evaluation.choice import choose, headline, refuse_hurt
from graft.scores.comparison import Comparison


def arm(source, method, accuracy=None, log_loss=1.0):
    if accuracy is None:
        return Arm(source, method)
    return Arm(source, method, {"accuracy": accuracy, "log_loss": log_loss, "folds": 3})


def test_the_most_accurate_by_cross_validation_is_chosen():
    arms = [arm("a", "probe", 0.5), arm("a", "full", 0.704), arm("a", "l2_sp", 0.6)]
    chosen, reason = choose(arms, "auto")
    assert chosen is arms[1]
    assert reason == (
        "the best of 3 by 3-fold cross-validation inside the labels of the largest budget "
        "(70 % there)"
    )


def test_of_tuned_arms_it_says_that_the_figure_flatters():
    arms = [arm("a", "probe", 0.5), arm("a", "full", 0.704)]
    arms[1].cross_validation["combinations"] = 4
    assert choose(arms, "auto")[1].endswith("(70 % there, flattered by tuning on the same folds)")


def test_the_lower_log_loss_decides_between_equals():
    arms = [arm("a", "probe", 0.7, 0.9), arm("a", "full", 0.7, 0.8), arm("a", "l2_sp", 0.6, 0.1)]
    assert choose(arms, "auto")[0] is arms[1]


def test_the_order_of_params_decides_between_equals_in_all():
    arms = [arm("a", "probe", 0.6), arm("a", "full", 0.7), arm("b", "full", 0.7)]
    assert choose(arms, "auto")[0] is arms[1]


def test_a_named_method_is_chosen_among_its_sources():
    arms = [arm("a", "probe", 0.9), arm("a", "full", 0.6), arm("b", "full", 0.7)]
    chosen, reason = choose(arms, "full")
    assert chosen is arms[2]
    assert reason.startswith("the best of 2 by ")


def test_the_only_candidate_needs_no_cross_validation():
    arms = [arm("a", "probe"), arm("a", "full")]
    assert choose(arms, "full") == (arms[1], "the only candidate")


def test_without_cross_validation_the_first_is_chosen_and_it_says_so():
    arms = [arm("a", "probe"), arm("a", "full", 0.9)]
    chosen, reason = choose(arms, "auto")
    assert chosen is arms[0]
    assert reason == (
        "the first one listed: with fewer than 2 labels in a class, nothing can be cross-validated"
    )


def comparison(budget):
    return Comparison("a", "full", budget, 3, 0.8, 0.5, 0.3, 0.2, 0.4, "helped", None, None, None)


@pytest.mark.parametrize(
    ("budget", "place"), [("smallest", 0), (1, 0), (5, 1), ("all", 2)], ids=str
)
def test_the_headline_speaks_of_one_budget(budget, place):
    comparisons = [comparison(1), comparison(5), comparison("all")]
    assert headline(comparisons, budget) is comparisons[place]


@pytest.mark.parametrize("verdict", ["helped", "equivalent", "inconclusive"])
def test_what_did_not_hurt_is_not_refused(verdict):
    refuse_hurt(dataclasses.replace(comparison(1), verdict=verdict))


def test_what_hurt_is_refused():
    hurt = dataclasses.replace(comparison(1), verdict="hurt", transfer_gain=-0.0425)
    with pytest.raises(GraftError, match=r"^transfer hurt \(-4\.2 points\), and evaluate\.fail_on"):
        refuse_hurt(hurt)
