import io
import itertools

import pytest
from PIL import Image

from graft.core.errors import GraftError
from graft.datasets import image_workers
from graft.datasets.image_workers import decode_all


def files(count):
    for number in range(count):
        buffer = io.BytesIO()
        Image.new("L", (4, 4), number % 256).save(buffer, "PNG")
        yield f"{number}.png", buffer.getvalue()


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_files(monkeypatch, workers):
    monkeypatch.setattr(image_workers, "_MAX_BATCH_FILES", 3)
    results = list(decode_all(files(40), 2, 2, 1, workers))
    assert [name for name, _ in results] == [f"{number}.png" for number in range(40)]
    assert [int(pixels.max()) for _, pixels in results] == list(range(40))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_file_gives_an_error_in_its_place(monkeypatch, workers):
    monkeypatch.setattr(image_workers, "_MAX_BATCH_FILES", 1)
    results = list(decode_all([*files(5), ("bad.png", b"no image"), *files(1)], 2, 2, 1, workers))
    assert [isinstance(result, GraftError) for _, result in results] == [False] * 5 + [True, False]
    assert str(results[5][1]).startswith("bad.png is no image")


def test_files_are_read_a_few_batches_ahead(monkeypatch):
    monkeypatch.setattr(image_workers, "_MAX_BATCH_FILES", 2)
    counter = itertools.count()
    results = decode_all((file for file in files(200) if next(counter) >= 0), 2, 2, 1, 2)
    for _ in range(20):
        next(results)
    assert next(counter) < 20 + 2 * 6
    results.close()


def test_a_process_that_dies_is_reported(monkeypatch):
    monkeypatch.setattr(image_workers, "_BATCHES_BEFORE_WORKERS", 0)
    monkeypatch.setattr(image_workers.sys, "executable", "/bin/true")
    with pytest.raises(GraftError, match="ended, most likely for want of memory"):
        list(decode_all(files(3), 2, 2, 1, 2))


def test_no_files_give_no_results():
    assert list(decode_all([], 2, 2, 3)) == []
