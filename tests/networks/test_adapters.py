import numpy as np
import pytest

from graft.networks.adapters import ADAPTERS


@pytest.fixture
def adapt(tensorflow):
    """Bring one raw image to a size and a number of channels."""
    import keras

    def adapted(image, size, channels):
        image = np.asarray(image, np.uint8)
        raw = keras.Input(image.shape, dtype="uint8")
        model = keras.Model(raw, ADAPTERS["image"](raw, size, channels))
        result = model(image[np.newaxis])
        assert result.dtype == "float32"
        return result.numpy()[0]

    return adapted


def test_pixels_are_scaled_to_0_to_1(adapt):
    image = [[[0], [51]], [[102], [255]]]
    np.testing.assert_allclose(adapt(image, 2, 1)[..., 0], [[0, 0.2], [0.4, 1]], atol=1e-7)


def test_grey_becomes_colour_by_repetition(adapt):
    image = [[[0], [51]], [[102], [255]]]
    colour = adapt(image, 2, 3)
    assert colour.shape == (2, 2, 3)
    for channel in range(3):
        np.testing.assert_allclose(colour[..., channel], [[0, 0.2], [0.4, 1]], atol=1e-7)


def test_colour_becomes_grey_by_its_luma(adapt):
    image = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [51, 102, 153]]]
    mixed = 0.2 * 0.2989 + 0.4 * 0.587 + 0.6 * 0.114
    expected = [[0.2989, 0.587], [0.114, mixed]]
    grey = adapt(image, 2, 1)
    assert grey.shape == (2, 2, 1)
    np.testing.assert_allclose(grey[..., 0], expected, atol=1e-6)


def test_colour_stays_colour(adapt):
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_allclose(adapt(image, 2, 3), image / 255, atol=1e-7)


def test_an_image_of_the_right_size_is_not_resized(tensorflow):
    import keras

    for size, layers in ((4, ["adapter_scale"]), (5, ["adapter_scale", "adapter_resize"])):
        raw = keras.Input((4, 4, 1), dtype="uint8")
        model = keras.Model(raw, ADAPTERS["image"](raw, size, 1))
        assert [layer.name for layer in model.layers[1:]] == layers


def test_enlarging_interpolates_between_the_centres_of_pixels(adapt):
    image = np.array([[0, 255], [0, 255]])[..., np.newaxis]
    rows = adapt(image, 4, 1)[..., 0]
    np.testing.assert_allclose(rows, np.tile([0, 0.25, 0.75, 1], (4, 1)), atol=1e-6)


def test_shrinking_weighs_what_a_pixel_covers(adapt):
    # Each new pixel is a triangle four old ones wide: 1, 3, 3, 1 parts, without those outside.
    row = np.array([0, 70, 140, 210])
    image = np.tile(row, (4, 1))[..., np.newaxis]
    left = (3 * 0 + 3 * 70 + 1 * 140) / 7
    right = (1 * 70 + 3 * 140 + 3 * 210) / 7
    rows = adapt(image, 2, 1)[..., 0]
    np.testing.assert_allclose(rows, np.tile([left, right], (2, 1)) / 255, atol=1e-6)


def test_a_plain_image_keeps_its_brightness_at_any_size(adapt):
    image = np.full((5, 9, 3), 102)
    np.testing.assert_allclose(adapt(image, 7, 3), np.full((7, 7, 3), 0.4), atol=1e-6)
