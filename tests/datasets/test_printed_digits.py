import numpy as np
import pytest
from pydantic import ValidationError

from graft.core.errors import GraftError
from graft.datasets import printed_digits
from graft.datasets.printed_digits import FONTS, PrintedDigits

STILL = {
    "rotation": 0,
    "shear": 0,
    "translation": 0,
    "elastic_strength": 0,
    "scale": (1.0, 1.0),
    "aspect": (1.0, 1.0),
}


def draw(classes=None, seed=0, **settings):
    dataset = PrintedDigits(**{"per_class": 40, **settings})
    return dataset.load(None, classes, np.random.default_rng(seed), None)


def test_images_are_white_ink_on_black():
    examples = draw()
    assert examples.inputs.shape == (400, 8, 8, 1)
    assert np.bincount(examples.labels).tolist() == [40] * 10
    assert examples.class_names == tuple("0123456789")
    assert examples.inputs.min() == 0
    assert examples.inputs.max() == 255
    assert 0.25 < examples.inputs.mean() / 255 < 0.4  # the UCI digits: 0.31


def test_twenty_fonts_are_there_and_have_every_digit():
    assert len(FONTS) == len(set(FONTS)) == 20
    assert all(printed_digits._glyph(font, digit) for font in FONTS for digit in "0123456789")


def test_without_distortion_an_upright_digit_fills_the_frame():
    zero = draw(["0"], **STILL, stroke_width=(0.1, 0.1)).inputs.mean(axis=0)[..., 0]
    assert zero[0, 3:5].min() > 60
    assert zero[7, 3:5].min() > 60
    assert zero[3:5, 3:5].max() < 60  # the hole


def test_stroke_width_is_the_mean_width_of_a_stroke():
    settings = {**STILL, "characters": "l", "image_size": 32, "per_class": 20}
    thin = draw(**settings, stroke_width=(0.06, 0.06)).inputs.mean()
    thick = draw(**settings, stroke_width=(0.12, 0.12)).inputs.mean()
    assert 1.5 < thick / thin < 2.2


def test_every_knob_changes_the_images():
    still = draw(**STILL).inputs
    for knob, value in {
        "rotation": 10,
        "shear": 0.2,
        "translation": 0.1,
        "elastic_strength": 0.05,
        "scale": (0.5, 0.9),
        "aspect": (0.5, 0.9),
        "stroke_width": (0.2, 0.3),
    }.items():
        assert not np.array_equal(draw(**{**STILL, knob: value}).inputs, still), knob


def test_another_stream_draws_other_images():
    assert not np.array_equal(draw(seed=0).inputs, draw(seed=1).inputs)


@pytest.mark.parametrize("size", [7, 8, 28, 40])
def test_any_image_size_is_drawn(size):
    assert draw(per_class=2, image_size=size).inputs.shape == (20, size, size, 1)


def test_fewer_images_than_fonts_are_enough():
    assert len(draw(per_class=1).inputs) == 10


def test_a_font_without_the_character_is_left_out():
    missing = [font for font in FONTS if printed_digits._glyph(font, "Ω") is None]
    assert missing
    assert draw(characters="Ω1", per_class=2).class_names == ("Ω", "1")


def test_a_character_that_no_font_has_is_refused():
    with pytest.raises(GraftError, match="none of the fonts has '汉'; leave it out"):
        draw(characters="汉1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"characters": ""}, "at least one character"),
        ({"characters": "011"}, "each once"),
        ({"characters": "0 1"}, "no spaces"),
        ({"scale": (1.0, 0.5)}, "low <= high"),
        ({"stroke_width": (0.0, 0.1)}, "0 < low"),
        ({"per_class": 0}, "greater than or equal to 1"),
        ({"image_size": 2}, "greater than or equal to 4"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        PrintedDigits(**settings)


def test_a_matplotlib_without_the_fonts_is_reported(monkeypatch):
    monkeypatch.setattr(printed_digits, "FONTS", (*FONTS, "Absent.ttf"))
    printed_digits._font_folder.cache_clear()
    with pytest.raises(GraftError, match=r"lacks Absent\.ttf; install a matplotlib"):
        PrintedDigits().check(None, None)
