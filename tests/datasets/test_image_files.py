import io

import numpy as np
import pytest
from PIL import Image

from graft.core.errors import GraftError
from graft.datasets import image_files as images
from graft.datasets.image_files import decode

RED = (200, 30, 40)


def encoded(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def grey(values, dtype=np.uint8):
    return Image.fromarray(np.array(values, dtype))


@pytest.mark.parametrize("file_format", images.FORMATS)
def test_every_format_is_decoded(file_format):
    content = encoded(Image.new("RGB", (6, 4), RED), file_format)
    pixels = decode(content, 4, 6, 3)
    assert pixels.shape == (4, 6, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RED).max() <= 4


def test_a_file_and_its_bytes_decode_alike(tmp_path):
    content = encoded(grey([[0, 10], [20, 255]]))
    (tmp_path / "a.png").write_bytes(content)
    from_file, from_bytes = decode(tmp_path / "a.png", 2, 2, 1), decode(content, 2, 2, 1)
    assert from_file[..., 0].tolist() == [[0, 10], [20, 255]]
    assert np.array_equal(from_file, from_bytes)
    assert from_file.flags.writeable


def test_grey_becomes_rgb_by_repetition():
    assert decode(encoded(grey([[7]])), 1, 1, 3).tolist() == [[[7, 7, 7]]]


def test_colour_becomes_grey_by_luma():
    luma = round((200 * 299 + 30 * 587 + 40 * 114) / 1000)
    assert decode(encoded(Image.new("RGB", (1, 1), RED)), 1, 1, 1).tolist() == [[[luma]]]


def test_a_palette_is_looked_up():
    image = Image.new("RGB", (2, 2), RED).quantize(4)
    assert decode(encoded(image), 2, 2, 3)[0, 0].tolist() == list(RED)


def test_sixteen_bits_become_eight_by_rounding():
    image = grey([[0, 257 * 100, 257 * 100 + 128, 257 * 100 + 129, 65535]], np.uint16)
    assert decode(encoded(image), 1, 5, 1)[0, :, 0].tolist() == [0, 100, 100, 101, 255]


def test_cmyk_becomes_rgb():
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert np.abs(decode(content, 8, 8, 3).astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode):
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    content = (
        encoded(clear.convert(mode), transparency=0)
        if mode == "P"
        else encoded(clear.convert(mode))
    )
    assert decode(content, 2, 2, 3).tolist() == [[[255] * 3] * 2] * 2


def test_half_transparency_is_mixed_with_white():
    content = encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert decode(content, 1, 1, 1).tolist() == [[[127]]]


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by 90 degrees
    content = encoded(grey([[10, 20, 30]]), exif=exif)
    assert decode(content, 3, 1, 1)[:, 0, 0].tolist() == [10, 20, 30]


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("L", (2, 2), value) for value in (50, 200)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(content, 2, 2, 1).max() == 50


def test_shrinking_averages_instead_of_picking():
    stripes = grey(np.tile([0, 255], (64, 32)))
    pixels = decode(encoded(stripes), 8, 8, 1)
    assert pixels.min() >= 100
    assert pixels.max() <= 155


def test_a_large_jpeg_is_reduced_to_the_size_asked():
    image = Image.new("RGB", (640, 320), RED)
    image.paste((0, 0, 0), (0, 0, 320, 320))
    pixels = decode(encoded(image, "JPEG"), 8, 16, 3)
    assert pixels[:, :7].max() <= 8
    assert np.abs(pixels[:, 9:].astype(int) - RED).max() <= 8


@pytest.mark.parametrize("file_format", images.FORMATS)
def test_a_file_cut_short_is_refused_by_name(file_format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), file_format)
    with pytest.raises(GraftError, match=r"cat\.img is broken or cut short"):
        decode(content[: len(content) // 2], 8, 8, 3, name="cat.img")


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "notes.png").write_text("not pixels")
    with pytest.raises(GraftError, match=r"notes\.png is no image .* expected one of: PNG, JPEG"):
        decode(tmp_path / "notes.png", 8, 8, 3)


def test_a_format_that_is_not_listed_is_refused():
    with pytest.raises(GraftError, match="is no image that graft reads"):
        decode(encoded(grey([[1]]), "TIFF"), 8, 8, 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GraftError, match=r"absent\.png cannot be read: No such file"):
        decode(tmp_path / "absent.png", 8, 8, 3)


@pytest.mark.parametrize("limit", [30, 60], ids=["far above", "above"])
def test_a_decompression_bomb_is_refused_without_a_warning(monkeypatch, limit):
    monkeypatch.setattr(images, "MAX_PIXELS", limit)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(GraftError, match=r"big\.png has more than"):
        decode(encoded(Image.new("L", (10, 10))), 8, 8, 3, name="big.png")


def test_corrupt_exif_does_not_warn():
    content = encoded(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert decode(content, 8, 8, 3).shape == (8, 8, 3)


def photo(height=21, width=33, mode="RGB"):
    """Return an image of smooth colours with noise, the same each time."""
    channels = len(mode)
    ramp = np.linspace(0, 200, height * width * channels).reshape(height, width, channels)
    noise = np.random.default_rng(0).integers(0, 55, ramp.shape)
    return Image.fromarray(np.uint8(ramp + noise).squeeze(), mode)


def oriented(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


@pytest.mark.parametrize("size", [(21, 33, 3), (8, 8, 3), (4, 4, 3), (64, 48, 3), (21, 33, 1)])
@pytest.mark.parametrize(
    ("image", "options"),
    [
        (photo(), {}),
        (photo(), {"progressive": True}),
        (photo(), {"subsampling": 0, "quality": 100, "optimize": True}),
        (photo(), {"restart_marker_blocks": 2, "comment": b"a photo"}),
        (photo(), {"exif": oriented(6)}),
        (photo(), {"icc_profile": b"profile"}),
        (photo(), {"keep_rgb": True}),
        (photo(mode="L"), {}),
        (photo(mode="CMYK"), {}),
        (photo(300, 400), {}),
    ],
)
def test_a_jpeg_has_the_pixels_that_opening_it_gives(image, options, size):
    content = encoded(image, "JPEG", **options)
    opened = images._pixels(io.BytesIO(content), *size)
    assert np.array_equal(decode(content, *size), opened)


def test_the_headers_of_a_plain_jpeg_are_not_read_twice(monkeypatch):
    content = encoded(photo(), "JPEG")
    monkeypatch.delattr(Image, "open")
    assert decode(content, 21, 33, 3).shape == (21, 33, 3)


def test_a_changed_jpeg_is_broken_or_has_the_pixels_that_opening_it_gives():
    content = encoded(photo(), "JPEG")
    rng = np.random.default_rng(0)
    outcomes = set()
    for place in rng.permutation(len(content))[:300]:
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        results = []
        for source in (bytes(changed), io.BytesIO(changed)):
            try:
                results.append(images._pixels(source, 8, 8, 3).tobytes())
            except GraftError as error:
                results.append(str(error))
        assert results[0] == results[1]
        outcomes.add(type(results[0]))
    assert outcomes == {bytes, str}
