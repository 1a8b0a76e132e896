import csv
import errno
import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from graft.cli import main
from graft.core.artifacts import load_model, save_model
from graft.core.errors import GraftError
from graft.core.network import Network
from graft.networks.small_cnn import SmallCNN
from graft.predicting import Classifier, Prediction, find_images

NAMES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tensorflow) -> Path:
    """An exported model for grey images of 8 x 8 pixels."""
    path = tmp_path_factory.mktemp("models") / "target.keras"
    network = SmallCNN(width=2).build((8, 8, 1), len(NAMES), seed=0)
    save_model(path, network.model, NAMES)
    return path


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return Classifier(model)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of five images, and files that are none."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.png", "sub/c.PNG", "sub/deep/d.png", "z.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    for name in (".hidden.png", "notes.txt", "sub/.cache/e.png"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no image")
    return folder


FOUND = ["a.png", "b.png", "sub/c.PNG", "sub/deep/d.png", "z.png"]


def predict(model: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["predict", "--model", str(model), *arguments])


def test_folders_are_searched_in_sorted_order(photos):
    assert find_images([Path("photos")]) == [f"photos/{name}" for name in FOUND]


def test_files_come_as_they_are_named(photos):
    paths = [Path("photos/z.png"), Path("photos/notes.txt"), Path("photos/sub")]
    assert find_images(paths) == [
        "photos/z.png",
        "photos/notes.txt",
        "photos/sub/c.PNG",
        "photos/sub/deep/d.png",
    ]


def test_links_to_files_are_followed(photos):
    (photos / "sub/link.png").symlink_to(photos / "a.png")
    assert "photos/sub/link.png" in find_images([Path("photos")])


def test_probabilities_are_those_of_the_network(model, photos):
    result = predict(model, "--csv", "photos")
    rows = list(csv.reader(io.StringIO(result.stdout)))
    images = np.stack([np.asarray(Image.open(photos / name))[..., np.newaxis] for name in FOUND])
    expected = Network(load_model(model)).probabilities(images)
    assert (result.exit_code, result.stderr) == (0, "")
    assert rows[0] == ["file", "class", "probability", *NAMES]
    assert [row[0] for row in rows[1:]] == [f"photos/{name}" for name in FOUND]
    assert [row[1] for row in rows[1:]] == [NAMES[label] for label in expected.argmax(axis=1)]
    np.testing.assert_allclose([[*map(float, row[3:])] for row in rows[1:]], expected, atol=1e-6)


def test_other_sizes_and_colours_are_brought_to_the_models(model, photos):
    grey = np.asarray(Image.open("photos/a.png"))
    large = np.kron(grey, np.ones((3, 3), np.uint8))  # reduced by 3, about the same again
    Image.fromarray(np.stack([large] * 3, axis=-1)).save("large.png")
    result = predict(model, "--json", "photos/a.png", "large.png")
    small, reduced = json.loads(result.stdout)
    assert small["class"] == reduced["class"]
    assert small["probability"] == pytest.approx(reduced["probability"], abs=0.01)


def test_batches_do_not_change_the_answer(classifier, photos):
    files = find_images([photos])
    together = [result.probabilities for _, result in classifier.predict(files, 64)]
    apart = [result.probabilities for _, result in classifier.predict(files, 2)]
    np.testing.assert_allclose(together, apart, rtol=1e-5)


def test_files_are_read_as_they_are_wanted(classifier, photos):
    endless = itertools.cycle([str(photos / "a.png")])
    results = list(itertools.islice(classifier.predict(endless, 2), 5))
    assert all(isinstance(result, Prediction) for _, result in results)


def test_table_is_the_default(model, photos):
    result = predict(model, "photos/a.png")
    header, line = result.stdout.splitlines()
    assert header.split() == ["file", "class", "probability", "runner-up", "probability"]
    assert line.startswith("photos/a.png  ")


def test_top(model, photos):
    entry = json.loads(predict(model, "--json", "--top", "1", "photos/a.png").stdout)[0]
    assert list(entry["probabilities"]) == [entry["class"]]


def test_what_is_no_image_is_reported_and_the_rest_answered(model, photos):
    result = predict(model, "--json", "photos/a.png", "photos/notes.txt", "photos/b.png")
    assert result.exit_code == 2
    files = [entry["file"] for entry in json.loads(result.stdout)]
    assert files == ["photos/a.png", "photos/b.png"]
    assert result.stderr == (
        "graft: photos/notes.txt is no image that graft reads; "
        "expected one of: PNG, JPEG, BMP, GIF, WEBP\n"
        "graft: 1 of 3 files could not be answered\n"
    )


def test_nothing_but_broken_files(model, photos):
    result = predict(model, "--json", "photos/notes.txt")
    assert (result.exit_code, json.loads(result.stdout)) == (2, [])


def test_a_file_that_vanishes_is_reported(classifier, photos):
    ((_, result),) = classifier.predict(["photos/gone.png"], 2)
    assert isinstance(result, GraftError)
    assert str(result) == "photos/gone.png cannot be read: No such file or directory"


def test_a_file_that_is_too_large_is_not_read(classifier, photos, monkeypatch):
    monkeypatch.setattr("graft.predicting.MAX_FILE_BYTES", 1 << 20)
    with Path("large.png").open("wb") as file:
        file.truncate((1 << 20) + 1)
    ((_, result),) = classifier.predict(["large.png"], 2)
    assert str(result) == "large.png is above 1 MiB; make it smaller or leave it out"


def test_odd_names_are_written(model, photos):
    odd = os.fsdecode(b"photos/\xff\n.png")
    Path("photos/a.png").rename(odd)
    assert r"photos/\udcff\n.png" in predict(model, odd).stdout
    assert json.loads(predict(model, "--json", odd).stdout)[0]["file"] == odd
    assert predict(model, "--csv", odd).exit_code == 0


def test_missing_path(photos):
    result = predict(Path("none.keras"), "photos", "none.png")
    assert result.exit_code == 2
    assert result.stderr == (
        "graft: none.png is missing; expected an image file or a folder of them\n"
    )


def test_empty_folder(photos):
    Path("empty").mkdir()
    result = predict(Path("none.keras"), "empty")
    assert result.exit_code == 2
    assert result.stderr.startswith("graft: empty holds no images; expected files called .png, ")


def test_neither_file_nor_folder(photos):
    os.mkfifo("pipe.png")
    with pytest.raises(GraftError, match=r"^pipe\.png is neither a file nor a folder; save "):
        find_images([Path("pipe.png")])


def test_a_folder_that_cannot_be_read(photos, monkeypatch):
    def walk(top, onerror):
        onerror(PermissionError(errno.EACCES, "Permission denied", f"{top}/sub"))
        return []

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(GraftError, match=r"^photos/sub cannot be read: Permission denied$"):
        find_images([Path("photos")])


def test_missing_model(photos):
    result = predict(Path("none.keras"), "photos")
    assert result.exit_code == 2
    assert result.stderr == "graft: none.keras is missing; `dvc repro` makes it\n"


def test_no_model(photos):
    result = predict(Path("photos/notes.txt"), "photos")
    assert result.exit_code == 2
    assert result.stderr.startswith("graft: photos/notes.txt is no usable Keras model: ")


def test_the_model_is_a_folder(photos):
    result = predict(Path("photos"), "photos")
    assert result.exit_code == 2
    assert "'photos' is a directory" in result.stderr


def test_a_model_that_takes_no_images(model, photos):
    import keras

    inputs = keras.Input((4,))
    vectors = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    save_model(Path("vectors.keras"), vectors, NAMES)
    with pytest.raises(GraftError, match=r"^vectors\.keras takes inputs of shape \(None, 4\)"):
        Classifier(Path("vectors.keras"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--json", "--csv"), "--json and --csv exclude each other; give one of them"),
        (("--csv", "--top", "2"), "--csv has a column for every class; leave --top out"),
        (("--top", "0"), "0 is not in the range x>=1"),
        (("--batch-size", "0"), "0 is not in the range"),
    ],
)
def test_options_that_make_no_sense(arguments, message):
    result = predict(Path("none.keras"), *arguments, "photos")
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_interrupt_ends_quietly(photos, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graft.predicting.find_images", interrupted)
    result = predict(Path("none.keras"), "photos")
    assert (result.exit_code, result.output) == (130, "")


def test_a_closed_pipe_ends_quietly(model, photos):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", "from graft.cli import main; main()", "predict", "photos"]
    with os.fdopen(writing) as closed:
        done = subprocess.run(
            [*command, "--model", model], stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")
