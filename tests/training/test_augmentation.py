import numpy as np
import pytest

from graft.training.augmentation import Augmentation


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(1, 256, (200, 4, 5, 3), np.uint8)


def seeded():
    return np.random.default_rng(1)


def test_nothing_is_varied_unless_asked_for(images):
    assert Augmentation().apply(images, seeded()) is images


def test_about_half_of_the_images_are_mirrored_left_to_right(images):
    flipped = Augmentation(flip=True).apply(images, seeded())
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(flipped, images, strict=True)]
    same = [np.array_equal(new, old) for new, old in zip(flipped, images, strict=True)]
    assert all(a is not b for a, b in zip(mirrored, same, strict=True))
    assert 80 <= sum(mirrored) <= 120
    assert mirrored == (seeded().random(200) < 0.5).tolist()


def test_a_crop_is_a_window_of_the_padded_image(images):
    cropped = Augmentation(crop=2).apply(images, seeded())
    assert (cropped.shape, cropped.dtype) == (images.shape, np.uint8)
    places = []
    for new, old in zip(cropped, images, strict=True):
        padded = np.pad(old, ((2, 2), (2, 2), (0, 0)))
        (place,) = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if np.array_equal(new, padded[top : top + 4, left : left + 5])
        ]
        places.append(place)
    # 25 places, eight images each on average.
    assert len(set(places)) == 25


def test_the_given_images_stay_as_they_are(images):
    before = images.copy()
    Augmentation(flip=True, crop=1).apply(images, seeded())
    assert np.array_equal(images, before)


def test_the_same_generator_varies_alike(images):
    augmentation = Augmentation(flip=True, crop=1)
    once, again = (augmentation.apply(images, seeded()) for _ in range(2))
    other = augmentation.apply(images, np.random.default_rng(2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
