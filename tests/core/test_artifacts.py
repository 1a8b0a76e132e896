import contextlib
import hashlib
import io
import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from graft.core import artifacts
from graft.core.errors import GraftError

ROOT = Path(__file__).parents[2]


class WriterError(Exception):
    """What a writer fails with."""


def write_half(folder):
    (folder / "new").touch()
    raise WriterError


def failing_rows():
    yield (1, 2)
    raise WriterError


WRITERS = {
    "text": lambda path: artifacts.save_text(path, "a\n"),
    "json": lambda path: artifacts.save_json(path, {"b": 1, "a": [0.1, None, "é"]}),
    "csv": lambda path: artifacts.save_csv(path, ("a", "b"), [(0.1, None), (1 / 3, "x")]),
    "array": lambda path: artifacts.save_array(path, np.arange(6).reshape(2, 3)),
    "arrays": lambda path: artifacts.save_arrays(path, {"b": np.ones(2), "a/c": np.zeros(3)}),
}

FAILING_WRITERS = {
    "json": (lambda path: artifacts.save_json(path, {"a": float("nan")}), ValueError),
    "csv": (lambda path: artifacts.save_csv(path, ("a", "b"), failing_rows()), WriterError),
    "array": (lambda path: artifacts.save_array(path, np.array([None])), ValueError),
    "arrays": (
        lambda path: artifacts.save_arrays(path, {"a": np.ones(2), "b": np.array([None])}),
        ValueError,
    ),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_equal_contents_give_equal_bytes(tmp_path, write):
    write(tmp_path / "one")
    write(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_writer_makes_the_folder_and_leaves_one_file(tmp_path, write):
    write(tmp_path / "folder" / "file")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


@pytest.mark.parametrize(("write", "error"), FAILING_WRITERS.values(), ids=FAILING_WRITERS)
def test_a_failing_writer_leaves_the_old_file_and_no_other(tmp_path, write, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error):
        write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_keeps_the_order_of_keys_and_ends_with_a_newline(tmp_path):
    path = tmp_path / "a.json"
    artifacts.save_json(path, {"b": 1, "a": "é", "c": None})
    assert path.read_text() == '{\n  "b": 1,\n  "a": "é",\n  "c": null\n}\n'
    assert artifacts.load_json(path) == {"b": 1, "a": "é", "c": None}


def test_csv_keeps_every_digit_and_leaves_none_empty(tmp_path):
    path = tmp_path / "a.csv"
    artifacts.save_csv(path, ("a", "b"), [(1 / 3, None), (2, 'x,"y"')])
    assert path.read_text() == 'a,b\n0.3333333333333333,\n2,"x,""y"""\n'


def test_arrays_come_back_as_they_were(tmp_path):
    given = {
        "head/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "count": np.array(3),
        "turned": np.arange(6).reshape(2, 3).T,
    }
    artifacts.save_arrays(tmp_path / "a.npz", given)
    read = artifacts.load_arrays(tmp_path / "a.npz")
    assert list(read) == list(given)
    for name, array in given.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    with np.load(tmp_path / "a.npz") as by_numpy:
        np.testing.assert_array_equal(by_numpy["head/kernel"], given["head/kernel"])


def test_an_array_is_memory_mapped_read_only(tmp_path):
    artifacts.save_array(tmp_path / "a.npy", np.arange(6).reshape(2, 3).T)
    array = artifacts.load_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    assert array.tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


@pytest.mark.parametrize(
    ("shape", "longest"),
    [((10, 1024, 1024), 2), ((10, 3 << 20), 1), ((5000,), 5000), ((10, 0), 10)],
)
def test_slices_hold_two_mebibytes_or_a_row_and_all_rows_once(shape, longest):
    array = np.broadcast_to(np.uint8(0), shape)
    parts = list(artifacts.slices(len(array), array))
    lengths = [len(array[part]) for part in parts]
    assert max(lengths) == longest
    assert np.concatenate([np.arange(len(array))[part] for part in parts]).tolist() == list(
        range(len(array))
    )


@pytest.mark.parametrize("sizes", [(), (1,), (3, 4, 2)], ids=str)
def test_rows_written_in_slices_are_the_file_that_they_would_be_at_once(tmp_path, sizes):
    rows = np.arange(sum(sizes) * 6, dtype=np.int32).reshape(-1, 2, 3)
    with artifacts.RowWriter(tmp_path / "slices.npy", np.int32, (2, 3)) as file:
        for start, size in zip(np.cumsum((0, *sizes)), sizes, strict=False):
            file.write(rows[start : start + size])
    assert file.rows == len(rows)
    np.save(tmp_path / "at_once.npy", rows)
    read = np.load(tmp_path / "slices.npy")
    assert read.dtype == rows.dtype
    assert np.array_equal(read, rows)
    content, whole = ((tmp_path / f"{name}.npy").read_bytes() for name in ("slices", "at_once"))
    assert content == whole


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with artifacts.replacing_folder(path) as temporary:
        (temporary / "new").touch()
        assert [file.name for file in path.iterdir()] == ["old"]
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_folder(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(WriterError), artifacts.replacing_folder(path) as temporary:
        write_half(temporary)
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


# What a killed run leaves, and what the disk refuses


def test_what_a_killed_run_left_is_replaced_and_goes(tmp_path):
    path = tmp_path / "folder"
    for name in (".folder.partial", ".folder.old.partial", "folder"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left").touch()
    with artifacts.replacing_folder(path) as temporary:
        assert list(temporary.iterdir()) == []
        assert (path / "left").exists()
        (temporary / "new").touch()
    (tmp_path / ".file.partial").write_text("half")
    artifacts.save_text(tmp_path / "file", "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert [file.name for file in path.iterdir()] == ["new"]
    assert (tmp_path / "file").read_text() == "whole"


def test_a_workspace_is_empty_and_goes_in_any_case(tmp_path):
    path = tmp_path / "a" / ".workspace.partial"
    path.mkdir(parents=True)
    (path / "left").touch()
    with contextlib.suppress(WriterError), artifacts.workspace(path) as space:
        assert list(space.iterdir()) == []
        write_half(space)
    assert list(path.parent.iterdir()) == []


def test_temporary_names_are_ignored_by_git_and_dvc():
    for file in (".gitignore", ".dvcignore"):
        assert "*.partial" in (ROOT / file).read_text(encoding="utf-8").splitlines()


@pytest.fixture
def full_disk():
    """Let no file grow beyond 4 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


BIG_WRITERS = {
    "text": lambda path: artifacts.save_text(path, "a" * 9999),
    "array": lambda path: artifacts.save_array(path, np.zeros(9999)),
    "arrays": lambda path: artifacts.save_arrays(path, {"a": np.zeros(9999)}),
}


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("write", BIG_WRITERS.values(), ids=BIG_WRITERS)
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, write):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(GraftError, match=rf"^{path} cannot be written: .*; make room or give"):
        write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_while_a_model_is_saved_leaves_the_old_one(
    tmp_path, small_network, request
):
    path = tmp_path / "model.keras"
    path.write_text("old")
    request.getfixturevalue("full_disk")
    with pytest.raises(GraftError, match=rf"^{path} cannot be written: "):
        artifacts.save_model(path, small_network.model, ("a", "b", "c"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_is_full_while_a_folder_is_filled_leaves_the_old_one(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with (
        pytest.raises(GraftError, match=rf"^{path} cannot be written: File too large; make room"),
        artifacts.replacing_folder(path) as temporary,
    ):
        (temporary / "new").write_text("a" * 9999)
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_place_where_nothing_can_be_written_is_named(tmp_path, write):
    (tmp_path / "metrics").touch()
    path = tmp_path / "metrics" / "file"
    with pytest.raises(GraftError, match=rf"^{path} cannot be written: "):
        write(path)


def test_what_cannot_be_read_while_a_folder_is_filled_is_no_fault_of_writing(tmp_path):
    for error in (FileNotFoundError(2, "No such file", "/raw/image.png"), ConnectionError("gone")):
        with pytest.raises(type(error)), artifacts.replacing_folder(tmp_path / "folder"):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_an_array_is_hashed_in_c_order_whatever_its_layout():
    array = np.arange(12, dtype=np.int32).reshape(4, 3)
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    assert artifacts.array_sha256(array) == digest
    assert artifacts.array_sha256(array, rows=1) == digest
    assert artifacts.array_sha256(np.asfortranarray(array), rows=3) == digest
    scalar = np.array(3, np.int32)
    assert artifacts.array_sha256(scalar) == hashlib.sha256(scalar.tobytes()).hexdigest()


READERS = {
    "json": artifacts.load_json,
    "npy": artifacts.load_array,
    "npz": artifacts.load_arrays,
    "keras": artifacts.load_model,
    "names": artifacts.load_class_names,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(GraftError, match=r"absent is missing; `dvc repro` makes it"):
        read(tmp_path / "absent")


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def keras_archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.json", content)
    return buffer.getvalue()


BROKEN = {
    ("json", "empty"): b"",
    ("json", "cut off"): b'{"a": 1',
    ("json", "foreign"): b"\xff\xfe",
    ("npy", "empty"): b"",
    ("npy", "cut off"): npy(np.arange(100))[:200],
    ("npy", "cut off in its head"): npy(np.arange(100))[:20],
    ("npy", "foreign"): b"a,b\n1,2\n",
    ("npy", "npz"): npz(a=np.arange(3)),
    ("npy", "objects"): npy(np.array([{"a": 1}])),
    ("npz", "empty"): b"",
    ("npz", "cut off"): npz(a=np.arange(100))[:-40],
    ("npz", "foreign"): b"a,b\n1,2\n",
    ("npz", "npy"): npy(np.arange(3)),
    ("npz", "other zip"): keras_archive(a="1"),
    ("npz", "objects"): npz(a=np.array([{"a": 1}])),
    ("names", "empty"): b"",
    ("names", "foreign"): b"a,b\n1,2\n",
    ("names", "other zip"): keras_archive(a="1"),
    ("names", "no names"): keras_archive(metadata="{}"),
    ("names", "no mapping"): keras_archive(metadata="[]"),
    ("names", "no JSON"): keras_archive(metadata="{"),
}


BROKEN_IDS = [" ".join(key) for key in BROKEN]


@pytest.mark.parametrize(
    ("kind", "content"), [(kind, c) for (kind, _), c in BROKEN.items()], ids=BROKEN_IDS
)
def test_a_broken_file_is_named(tmp_path, kind, content):
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(content)
    with pytest.raises(GraftError, match=rf"broken\.{kind} is no"):
        READERS[kind](path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_folder_is_no_file(tmp_path, read):
    with pytest.raises(GraftError):
        read(tmp_path)


NAMES = ("0", "zero one", "é")


@pytest.fixture
def model_file(tmp_path, small_network):
    path = tmp_path / "model.keras"
    artifacts.save_model(path, small_network.model, NAMES)
    return path


def test_the_names_of_the_classes_travel_with_the_model(model_file):
    assert artifacts.load_class_names(model_file) == NAMES
    with zipfile.ZipFile(model_file) as archive:
        assert json.loads(archive.read("metadata.json"))["class_names"] == list(NAMES)


def test_the_same_model_saved_again_gives_the_same_bytes(tmp_path, model_file, small_network):
    artifacts.save_model(tmp_path / "again.keras", small_network.model, NAMES)
    assert (tmp_path / "again.keras").read_bytes() == model_file.read_bytes()


def test_a_loaded_model_saved_again_gives_the_same_bytes(tmp_path, model_file):
    artifacts.save_model(tmp_path / "again.keras", artifacts.load_model(model_file), NAMES)
    assert (tmp_path / "again.keras").read_bytes() == model_file.read_bytes()


def test_other_names_or_weights_give_other_bytes(tmp_path, model_file, small_network):
    artifacts.save_model(tmp_path / "names.keras", small_network.model, ("0", "1", "2"))
    assert (tmp_path / "names.keras").read_bytes() != model_file.read_bytes()
    small_network.assign({"head/bias": np.ones(3, np.float32)})
    artifacts.save_model(tmp_path / "weights.keras", small_network.model, NAMES)
    assert (tmp_path / "weights.keras").read_bytes() != model_file.read_bytes()


BUILD_AND_SAVE = """
import sys
from pathlib import Path
from graft.compute.runtime import start_tensorflow
start_tensorflow()
import keras
keras.layers.Dense(1)  # names and addresses shift
from graft.core.artifacts import save_model
from graft.networks.small_cnn import SmallCNN
save_model(Path(sys.argv[1]), SmallCNN(width=2).build((8, 8, 1), 3, seed=1).model, sys.argv[2:])
"""


def test_another_process_saves_the_same_bytes(tmp_path, model_file):
    path = tmp_path / "other.keras"
    command = [sys.executable, "-c", BUILD_AND_SAVE, str(path), *NAMES]
    subprocess.run(command, check=True, cwd=ROOT)
    assert path.read_bytes() == model_file.read_bytes()


PREDICT_BY_KERAS_ALONE = """
import sys
sys.modules["graft"] = None  # importing it fails
import keras, numpy
model = keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


def test_keras_alone_reads_the_model_and_predicts_the_same(
    tmp_path, model_file, small_network, images
):
    np.save(tmp_path / "images.npy", images)
    paths = [str(tmp_path / name) for name in ("model.keras", "images.npy", "probabilities.npy")]
    command = [sys.executable, "-c", PREDICT_BY_KERAS_ALONE, *paths]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    expected = small_network.probabilities(images)
    np.testing.assert_allclose(np.load(paths[2]), expected, rtol=1e-5, atol=1e-7)


def test_a_failing_save_leaves_the_old_model(model_file, small_network):
    before = model_file.read_bytes()
    with pytest.raises(TypeError):
        artifacts.save_model(model_file, small_network.model, None)
    assert model_file.read_bytes() == before
    assert list(model_file.parent.iterdir()) == [model_file]


def test_a_model_with_code_in_it_is_refused(tmp_path, tensorflow):
    import keras

    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(GraftError, match=r"lambda\.keras is no usable Keras model: .*[Ll]ambda"):
        artifacts.load_model(tmp_path / "lambda.keras")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_model_cut_off_is_named(model_file, tensorflow, share):
    content = model_file.read_bytes()
    model_file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(GraftError, match=r"model\.keras is no usable Keras model"):
        artifacts.load_model(model_file)


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,2\n", npz(a=np.arange(3)), keras_archive(config="{}", metadata="{}")],
    ids=["text", "npz", "other archive"],
)
def test_what_is_no_model_is_named(tmp_path, tensorflow, content):
    path = tmp_path / "foreign.keras"
    path.write_bytes(content)
    with pytest.raises(GraftError, match=r"foreign\.keras is no usable Keras model"):
        artifacts.load_model(path)


def test_a_model_whose_weights_do_not_fit_is_named(tmp_path, model_file, tensorflow):
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(model_file) as archive, zipfile.ZipFile(other, "w") as target:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                content = content.replace(b'"units": 8', b'"units": 9')
            target.writestr(name, content)
    with pytest.raises(GraftError, match=r"other\.keras is no usable Keras model"):
        artifacts.load_model(other)


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A mapped array that counts as large, and what is in it."""
    monkeypatch.setattr("graft.core.artifacts._LARGE", 10)
    array = np.random.default_rng(0).integers(0, 1000, (7, 3, 2)).astype(np.int32)
    artifacts.save_array(tmp_path / "array.npy", array)
    return artifacts.load_array(tmp_path / "array.npy"), array


@pytest.mark.parametrize(
    "key",
    [
        np.array([4, 0, 4, -1]),
        np.array([], int),
        np.arange(7) % 2 == 0,
        slice(2, 5),
        slice(None, None, -2),
        3,
        (2, 1, 0),
        (slice(1, 3), ..., 1),
        np.array([[0, 1], [5, 6]]),
        (np.array([1, 2]), np.array([0, 2])),
    ],
    ids=str,
)
def test_what_is_selected_from_a_large_mapped_array_is_what_numpy_selects(large, key):
    mapped, array = large
    selected = mapped[key]
    assert np.array_equal(selected, array[key])
    assert not np.may_share_memory(selected, mapped)
    assert type(selected) is type(array[key])


def test_a_row_that_a_large_mapped_array_lacks_is_an_error(large):
    with pytest.raises(IndexError):
        large[0][np.array([0, 7])]


def test_what_is_computed_from_a_large_mapped_array_is_no_longer_mapped(large):
    mapped, array = large
    assert np.array_equal((mapped + 1)[np.array([2, 3])], (array + 1)[[2, 3]])
    assert np.array_equal(mapped.T[np.array([1, 0])], array.T[[1, 0]])
    assert np.array_equal([row.sum() for row in mapped], [row.sum() for row in array])


def test_a_large_mapped_array_does_not_end_up_in_memory(tmp_path):
    with np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (9000, 4096))._mmap:
        pass
    script = (
        "import pathlib, sys, numpy as np\n"
        "from graft.core.artifacts import load_array\n"
        "def held():\n"
        "    lines = pathlib.Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(x.split()[1]) for x in lines if x.startswith('RssFile')) >> 10\n"
        "array = load_array(pathlib.Path(sys.argv[1]))\n"
        "before = held()\n"
        "for start in range(0, 9000, 1000):\n"
        "    array[np.arange(start, start + 1000)], array[start : start + 1000]\n"
        "print(held() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.npy")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert int(done.stdout) < 4  # MiB, of 35


# What no stage names any more


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


KEPT = ["scratch", "a/full", "a/probe"]


def test_models_of_stages_no_longer_named_are_removed(tmp_path):
    kept = ["a/full/1-0.npz", "a/full/1-1.npz", "a/probe/1-0.npz", "scratch/1-0.npz"]
    make(tmp_path, *kept, "a/l2/1-0.npz", "b/full/1-0.npz", "a/full2/1-0.npz", "stray.npz")
    artifacts.keep_only(tmp_path, KEPT)
    assert files(tmp_path) == kept
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "a" / "l2").exists()


def test_metrics_of_stages_no_longer_named_are_removed(tmp_path):
    kept = ["a/full.json", "a/probe.json", "scratch.json"]
    make(tmp_path, *kept, "a/l2.json", "b/full.json", "b/probe.json", "other.json")
    artifacts.keep_only(tmp_path, KEPT)
    assert files(tmp_path) == kept
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["a"]


def test_nothing_is_removed_where_everything_is_named(tmp_path):
    make(tmp_path, "a/full/1-0.npz", "scratch/1-0.npz")
    artifacts.keep_only(tmp_path, KEPT)
    assert files(tmp_path) == ["a/full/1-0.npz", "scratch/1-0.npz"]
