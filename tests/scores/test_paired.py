import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri

from graft.scores.paired import _MeanSquares, _stretch, paired_gain


def bootstrap():
    return np.random.default_rng(0)


def test_the_gain_is_the_mean_difference():
    method = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=bool)
    scratch = np.array([[1, 0, 0, 0], [1, 0, 0, 1]], dtype=bool)
    result = paired_gain(method, scratch, bootstrap())
    assert result.gain == 0.25
    assert result.repeats == 2
    assert result.low < 0.25 < result.high


def test_numbers_do_as_well_as_booleans():
    rng = np.random.default_rng(1)
    method, scratch = rng.random((2, 3, 50)) < 0.5
    assert paired_gain(method, scratch, bootstrap()) == paired_gain(
        method.astype(np.float32), scratch.astype(int), bootstrap()
    )


def test_equal_generators_give_equal_intervals():
    method, scratch = np.random.default_rng(1).random((2, 3, 200)) < 0.5
    first, again = (paired_gain(method, scratch, np.random.default_rng(7)) for _ in range(2))
    other = paired_gain(method, scratch, np.random.default_rng(8))
    assert first == again
    assert first.low != other.low


def test_swapping_the_arms_turns_the_sign():
    rng = np.random.default_rng(1)
    method, scratch = rng.random((3, 400)) < 0.8, rng.random((3, 400)) < 0.6
    there = paired_gain(method, scratch, bootstrap())
    back = paired_gain(scratch, method, bootstrap())
    assert back.gain == -there.gain
    assert (-back.high, -back.low) == pytest.approx((there.low, there.high), abs=0.01)


def test_more_confidence_is_a_wider_interval():
    method, scratch = np.random.default_rng(1).random((2, 3, 200)) < 0.5
    widths = []
    for confidence in (0.8, 0.95, 0.99):
        result = paired_gain(method, scratch, bootstrap(), confidence=confidence)
        widths.append(result.high - result.low)
    assert widths == sorted(widths)


@pytest.mark.parametrize("repeats", [1, 3])
def test_arms_that_agree_everywhere_have_no_gain_and_a_point_interval(repeats):
    same = np.random.default_rng(1).random((repeats, 20)) < 0.5
    result = paired_gain(same, same, bootstrap())
    assert (result.gain, result.low, result.high) == (0.0, 0.0, 0.0)


def test_a_difference_that_never_varies_is_a_point():
    result = paired_gain(np.ones((3, 20)), np.zeros((3, 20)), bootstrap())
    assert (result.gain, result.low, result.high) == (1.0, 1.0, 1.0)


def test_variation_that_cancels_over_repeats_gives_no_nan():
    method = np.array([[1, 0], [0, 1]])
    result = paired_gain(method, 1 - method, bootstrap())
    assert (result.gain, result.low, result.high) == (0.0, 0.0, 0.0)


def test_a_difference_between_repeats_alone_is_the_t_interval_over_them():
    # In one repeat everything is gained, in two nothing.
    method = np.zeros((3, 1000))
    method[0] = 1
    result = paired_gain(method, np.zeros((3, 1000)), bootstrap(), resamples=200_000)
    low, high = stats.t.interval(0.95, 2, loc=1 / 3, scale=np.sqrt(1 / 3 / 3))
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.03)


def test_one_repeat_resamples_the_examples_alone():
    rng = np.random.default_rng(1)
    method, scratch = rng.random((1, 1000)) < 0.8, rng.random((1, 1000)) < 0.6
    result = paired_gain(method, scratch, bootstrap(), resamples=50_000)
    difference = method[0].astype(float) - scratch[0]
    error = difference.std(ddof=1) / np.sqrt(1000)
    assert result.repeats == 1
    assert result.low == pytest.approx(result.gain - 1.96 * error, abs=error / 20)
    assert result.high == pytest.approx(result.gain + 1.96 * error, abs=error / 20)


def test_repeats_that_agree_by_luck_do_not_make_the_interval_vanish():
    # Every repeat gains exactly 0.02 on 100 examples, at different ones.
    method, scratch = np.zeros((2, 3, 100))
    for repeat in range(3):
        method[repeat, 4 * repeat : 4 * repeat + 3] = 1
        scratch[repeat, 4 * repeat + 3] = 1
    result = paired_gain(method, scratch, bootstrap())
    assert result.gain == pytest.approx(0.02)
    assert result.high - result.low > 0.01


def test_many_values_are_drawn_in_parts(monkeypatch):
    method, scratch = np.random.default_rng(1).random((2, 2, 50))
    monkeypatch.setattr("graft.scores.paired._COUNTS_AT_ONCE", 7 * 50)
    in_parts = paired_gain(method, scratch, bootstrap(), resamples=100)
    monkeypatch.undo()
    assert in_parts == pytest.approx(paired_gain(method, scratch, bootstrap(), resamples=100))


@pytest.mark.parametrize(
    ("method", "scratch", "message"),
    [
        (np.ones((3, 5)), np.ones((2, 5)), "the same repeats and test examples"),
        (np.ones(5), np.ones(5), r"expected \(repeats, test examples\)"),
        (np.ones((0, 5)), np.ones((0, 5)), "at least one repeat"),
        (np.ones((3, 1)), np.ones((3, 1)), "2 test examples"),
        (np.full((3, 5), 2.0), np.zeros((3, 5)), "other values than 0 to 1"),
        (np.full((3, 5), np.nan), np.zeros((3, 5)), "other values than 0 to 1"),
    ],
)
def test_arrays_that_are_no_pair(method, scratch, message):
    with pytest.raises(ValueError, match=message):
        paired_gain(method, scratch, bootstrap())


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_out_of_range(confidence):
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        paired_gain(np.ones((3, 5)), np.ones((3, 5)), bootstrap(), confidence=confidence)


def test_too_few_resamples():
    with pytest.raises(ValueError, match="99 resamples; expected at least 100"):
        paired_gain(np.ones((3, 5)), np.ones((3, 5)), bootstrap(), resamples=99)


def study(rng, *, repeats, examples, scratch, gain, spread, difficulty):
    """Return the two arms of a study whose expected gain is exactly `gain`.

    A probit model: an example is correct if ability + repeat's shift + its difficulty + noise
    exceeds 0. `difficulty` is the variance of the examples' difficulty (that of the noise is
    1); four fifths of it are common to both arms. `spread` is the standard deviation of the
    gain over repeats; 3 points more move both arms together, as an easy draw of labels does.
    """
    common_difficulty = rng.standard_normal(examples)
    common_shift = rng.standard_normal((repeats, 1))
    arms = []
    for accuracy in (scratch + gain, scratch):
        ability = ndtri(accuracy)
        density = np.exp(-(ability**2) / 2) / np.sqrt(2 * np.pi)
        shift = spread / np.sqrt(2) * rng.standard_normal((repeats, 1)) + 0.03 * common_shift
        of_shift = (spread**2 / 2 + 0.03**2) / density**2
        # The scale at which shift, difficulty and noise together have the variance 1.
        scale = np.sqrt((1 + difficulty) / (1 - of_shift))
        own_difficulty = rng.standard_normal(examples)
        hardness = np.sqrt(0.8) * common_difficulty + np.sqrt(0.2) * own_difficulty
        latent = scale * (ability + shift / density) + np.sqrt(difficulty) * hardness
        arms.append(rng.random((repeats, examples)) < ndtr(latent))
    return arms


# repeats, examples, scratch's accuracy, gain, spread of the gain, variance of the difficulty
STUDIES = {
    "a gain, the same in every repeat": (3, 500, 0.6, 0.2, 0.0, 1.0),
    "no gain, in no repeat": (3, 500, 0.8, 0.0, 0.0, 1.0),
    "repeats 2 points apart, the same examples hard for both": (3, 1000, 0.7, 0.1, 0.02, 9.0),
    "repeats 4 points apart": (3, 1000, 0.6, 0.2, 0.04, 2.0),
    "five repeats 1 point apart": (5, 1000, 0.85, 0.05, 0.01, 2.0),
    "ten repeats 2 points apart, no gain": (10, 500, 0.7, 0.0, 0.02, 0.5),
}


@pytest.mark.parametrize("name", STUDIES)
def test_coverage_over_simulated_studies(name):
    names = ("repeats", "examples", "scratch", "gain", "spread", "difficulty")
    settings = dict(zip(names, STUDIES[name], strict=True))
    rng = np.random.default_rng(20250101)
    studies, covered = 1500, 0
    for _ in range(studies):
        method, scratch = study(rng, **settings)
        result = paired_gain(method, scratch, rng, resamples=500)
        covered += result.low <= settings["gain"] <= result.high
    assert 0.93 <= covered / studies <= 0.97


@pytest.mark.parametrize(
    ("repeats", "least", "most"),
    [(2, 0.940, 0.972), (3, 0.947, 0.961), (5, 0.947, 0.953), (10, 0.949, 0.950)],
)
def test_coverage_whatever_the_ratios_of_the_variances(repeats, least, most):
    """Integrate over the chance of the repeats' mean square; all else is sure in the limit.

    The unit is the mean square of the examples; the residual is a share of it, and the
    variance between repeats adds `between` to the expected mean square of the repeats.
    """
    normal_quantile, examples = stats.norm.ppf(0.975), 10**9
    chances = stats.chi2.ppf((np.arange(400) + 0.5) / 400, repeats - 1) / (repeats - 1)
    coverages = []
    for residual in (0.02, 0.2, 0.5, 0.8, 1.0):
        for between in (0, 0.25, 0.5, 1, 2, 4, 8, 16, 64):
            covered = []
            for chance in chances:
                of_repeats = (residual + between) * chance
                squares = _MeanSquares(of_repeats, 1.0, residual, repeats, examples)
                half_width = _stretch(squares, 0.025) * normal_quantile * np.sqrt(1 + of_repeats)
                covered.append(2 * ndtr(half_width / np.sqrt(1 + between)) - 1)
            coverages.append(np.mean(covered))
    assert least - 0.001 <= min(coverages)
    assert max(coverages) <= most + 0.001
