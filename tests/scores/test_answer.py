import dataclasses

import pytest

from graft.scores.answer import answer
from graft.scores.comparison import Comparison
from graft.scores.labels_saved import ScratchCurve

# From 0.62 at 1 label, scratch reaches 0.82 at 4.6 and 0.9 at 10.
CURVE = ScratchCurve((1, 4.6, 10), (0.62, 0.82, 0.9))
HELPED = Comparison("printed", "full", 1, 5, 0.82, 0.62, 0.2, 0.14, 0.25, "helped", 4.6, 3.2, 6.1)


def test_helped():
    assert answer(HELPED, CURVE, 1) == (
        "Transfer helped. With 1 label per class `full` reaches 82 % where training from scratch "
        "reaches 62 % (+20 points, 95 % interval +14 to +25, 5 repeats); scratch needs 4.6 labels "
        "per class for as much (95 % interval 3.2 to 6.1)."
    )


@pytest.mark.parametrize(
    ("low", "high", "interval"),
    [
        (3.24, 6.1, " (95 % interval 3.2 to 6.1)."),
        (3.2, None, " (95 % interval 3.2 to beyond the 10 tried)."),
        (None, None, "."),
        (4.6, 4.6, "."),
    ],
)
def test_the_interval_of_labels_saved(low, high, interval):
    bounded = dataclasses.replace(HELPED, labels_saved_low=low, labels_saved_high=high)
    text = answer(bounded, CURVE, 1)
    assert text.endswith(f"scratch needs 4.6 labels per class for as much{interval}")


def test_the_interval_is_in_labels_and_says_where_fewer_were_not_tried():
    curve = ScratchCurve((5, 20, 80), (0.5, 0.7, 0.9))
    method = dataclasses.replace(
        HELPED, labels_per_class=20, target_accuracy=0.8, labels_saved_low=0.25, labels_saved_high=3
    )
    assert answer(method, curve, 20).endswith(
        "scratch needs 40 labels per class for as much (95 % interval 5 or fewer to 60)."
    )


def test_helped_and_scratch_never_gets_there():
    never = dataclasses.replace(
        HELPED,
        target_accuracy=0.95,
        transfer_gain=0.33,
        transfer_gain_high=0.402,
        labels_saved_low=8.5,
        labels_saved_high=None,
    )
    assert answer(never, CURVE, 1) == (
        "Transfer helped. With 1 label per class `full` reaches 95 % where training from scratch "
        "reaches 62 % (+33 points, 95 % interval +14 to +40, 5 repeats); scratch does not get "
        "there within the 10 labels per class tried (95 % interval 8.5 to beyond the 10 tried)."
    )


def test_helped_at_the_only_budget_tried():
    open_ended = dataclasses.replace(HELPED, labels_saved_low=None, labels_saved_high=None)
    assert answer(open_ended, ScratchCurve((1,), (0.62,)), 1).endswith(
        "; scratch does not get there within the 1 label per class tried."
    )


def test_helped_by_little_is_told_in_tenths():
    little = Comparison(
        "printed", "sp", 5, 3, 0.9312, 0.918, 0.0132, 0.0004, 0.026, "helped", 2, 1, None
    )
    curve = ScratchCurve((5, 10), (0.918, 0.9312))
    assert answer(little, curve, 5) == (
        "Transfer helped. With 5 labels per class `sp` reaches 93.1 % where training from scratch "
        "reaches 91.8 % (+1.3 points, 95 % interval +0.04 to +2.6, 3 repeats); scratch needs 10 "
        "labels per class for as much (95 % interval 5 or fewer to beyond the 10 tried)."
    )


def test_helped_where_a_falling_curve_leaves_only_a_bound():
    curve = ScratchCurve((1, 5), (0.9, 0.5))
    comparison = Comparison(
        "printed", "full", 5, 3, 0.65, 0.5, 0.15, 0.1, 0.2, "helped", 0.2, 0.2, 0.2
    )
    assert answer(comparison, curve, 5).endswith(
        "; scratch needs at most 1 label per class for as much."
    )


def test_hurt():
    hurt = Comparison(
        "faces", "probe", 10, 5, 0.8, 0.9, -0.1, -0.142, -0.058, "hurt", 0.4, 0.2, 0.6
    )
    assert answer(hurt, CURVE, 10) == (
        "Transfer hurt. With 10 labels per class `probe` reaches 80 % where training from scratch "
        "reaches 90 % (-10 points, 95 % interval -14 to -5.8, 5 repeats); training from scratch "
        "is the better choice."
    )


def test_equivalent():
    same = Comparison(
        "faces", "full", 10, 5, 0.9, 0.9, 0.0, -0.004, 0.0061, "equivalent", 1.0, 0.9, 1.1
    )
    assert answer(same, CURVE, 10) == (
        "Transfer made no difference that matters. With 10 labels per class `full` reaches 90.0 % "
        "where training from scratch reaches 90.0 % (0 points, 95 % interval -0.4 to +0.6, "
        "5 repeats); the whole interval lies within 1 point of zero."
    )


def test_inconclusive():
    unclear = Comparison(
        "faces", "full", 2, 3, 0.75, 0.72, 0.03, -0.021, 0.081, "inconclusive", 1.2, 0.8, 2.4
    )
    assert answer(unclear, CURVE, 2, margin=0.015, confidence=0.9) == (
        "We cannot tell whether transfer helped. With 2 labels per class `full` reaches 75.0 % "
        "where training from scratch reaches 72.0 % (+3.0 points, 90 % interval -2.1 to +8.1, "
        "3 repeats); the interval contains zero and reaches beyond 1.5 points. More repeats or "
        "more test examples would narrow it."
    )


def test_one_repeat():
    once = dataclasses.replace(HELPED, repeats=1)
    assert answer(once, CURVE, 1) == (
        "Transfer helped. With 1 label per class `full` reaches 82 % where training from scratch "
        "reaches 62 % (+20 points, 95 % interval +14 to +25, 1 repeat); scratch needs 4.6 labels "
        "per class for as much (95 % interval 3.2 to 6.1). The interval speaks of "
        "test examples alone: one repeat cannot show what another draw of labels would change."
    )


@pytest.mark.parametrize(
    ("verdict", "low", "high", "shown"),
    [
        ("helped", 0.0004, 0.05, "+0.04 to +5.0"),
        ("hurt", -0.05, -0.0004, "-5.0 to -0.04"),
        ("inconclusive", -0.0004, 0.05, "0 to +5.0"),
    ],
)
def test_an_interval_that_leaves_out_zero_shows_it(verdict, low, high, shown):
    comparison = dataclasses.replace(
        HELPED, verdict=verdict, transfer_gain_low=low, transfer_gain_high=high
    )
    assert f" interval {shown}, " in answer(comparison, CURVE, 1)


@pytest.mark.parametrize(("mean", "shown"), [(37.5, "38"), (4.25, "4.2"), (9.96, "10"), (8.0, "8")])
def test_all_labels(mean, shown):
    every = dataclasses.replace(HELPED, labels_per_class="all")
    text = answer(every, CURVE, mean)
    assert text.startswith(f"Transfer helped. With all labels ({shown} per class) `full` reaches")


@pytest.mark.parametrize(
    ("gain", "shown"),
    [
        (0.1, "+10"),
        (0.0996, "+10"),
        (0.0994, "+9.9"),
        (0.0004, "0"),
        (-0.0004, "0"),
        (-0.0, "0"),
        (-0.0006, "-0.1"),
        (-0.0994, "-9.9"),
        (-0.0996, "-10"),
        (-0.126, "-13"),
    ],
)
def test_points_are_signed_and_rounded(gain, shown):
    unclear = dataclasses.replace(HELPED, verdict="inconclusive", transfer_gain=gain)
    assert f"({shown} points, " in answer(unclear, CURVE, 1)
