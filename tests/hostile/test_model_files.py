"""Models that were broken, or made to do harm: refused before Keras sees them."""

import copy
import io
import json
import sys
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.core import model_files
from graft.core.artifacts import load_class_names, load_model, save_model
from graft.core.errors import GraftError

NAMES = ("0", "1", "2")


@pytest.fixture(scope="module")
def members(two_blocks, tmp_path_factory):
    """The three members of a model with a bit of everything, its configuration parsed."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_model(path, two_blocks.build((9, 8, 3), 3, seed=1).model, NAMES)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    return {**content, "config.json": json.loads(content["config.json"])}


@pytest.fixture
def written(tmp_path, members):
    """Write the model with other members, in a folder of its own."""

    def write(compression=zipfile.ZIP_STORED, more=(), **changed):
        path = tmp_path / "given" / "model.keras"
        path.parent.mkdir(exist_ok=True)
        content = {**members, **{name.replace("_", "."): c for name, c in changed.items()}}
        if not isinstance(content["config.json"], bytes):
            content["config.json"] = json.dumps(content["config.json"]).encode()
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, c in [*content.items(), *more]:
                if c is not None:
                    archive.writestr(name, c)
        return path

    return write


def layer(config, name):
    return next(entry for entry in config["config"]["layers"] if entry["name"] == name)


def replaced(new):
    """Put `new` in the place of a layer."""

    def change(config):
        old = layer(config, "block1_flatten")
        old.pop("build_config", None)
        old.update(new)

    return change


def with_value(name, key, value):
    def change(config):
        layer(config, name)["config"][key] = value

    return change


def built_for(name, shape):
    def change(config):
        layer(config, name)["build_config"]["input_shape"] = shape

    return change


def named(class_name, module, registered_name=None, config=None):
    return {
        "class_name": class_name,
        "module": module,
        "registered_name": registered_name,
        "config": {"name": "block1_flatten"} if config is None else config,
    }


def without_module(config):
    del layer(config, "block1_flatten")["module"]


def used_twice(config):
    nodes = layer(config, "block1_flatten")["inbound_nodes"]
    nodes.append(copy.deepcopy(nodes[0]))


def with_many_layers(config):
    config["config"]["layers"] *= 1000


CODE = "which none of graft's networks consists of"
SIZE = "weights, its file holds"

HOSTILE_CONFIGS = {
    "a lambda": (replaced(named("Lambda", "keras.layers")), CODE),
    "a lambda by itself": (replaced(named("__lambda__", None)), CODE),
    "a function": (replaced(named("function", "os", "system", "system")), CODE),
    "a built-in function": (replaced(named("function", "builtins", "exec", "exec")), CODE),
    "a class of any module": (replaced(named("Popen", "subprocess", "Popen")), CODE),
    "a module of the sender's": (replaced(named("Layer", "planted", "Layer")), CODE),
    "a registered class": (replaced(named("ReLU", "keras.layers", "Package>Own")), "under the"),
    "a download": (replaced(named("get_file", "keras.utils")), CODE),
    "a SavedModel": (replaced(named("TFSMLayer", "keras.layers")), CODE),
    "a vocabulary file": (replaced(named("StringLookup", "keras.layers")), CODE),
    "a wrapped layer": (
        with_value("block1_flatten", "layer", named("Lambda", "keras.layers")),
        CODE,
    ),
    "a type specification": (replaced(named("__typespec__", "tensorflow")), CODE),
    "an initialiser of another kind": (
        with_value("head", "kernel_initializer", named("RandomNormal", "keras.initializers")),
        CODE,
    ),
    "the old format": (without_module, CODE),
    "a module that is no name": (replaced(named("ReLU", ["keras.layers"])), CODE),
    "a class that is no name": (replaced(named(["ReLU"], "keras.layers")), CODE),
    "a huge dense layer": (with_value("head", "units", 2**50), SIZE),
    "a dense layer for a huge input": (built_for("head", [None, 2**50]), SIZE),
    "a huge convolution": (with_value("block1_conv", "filters", 2**50), SIZE),
    "a huge kernel": (with_value("block1_conv", "kernel_size", [2**30, 2**30]), SIZE),
    "a huge normalisation": (built_for("block1_bn", [None, 2, 2, 2**50]), SIZE),
    "a normalisation of another axis": (with_value("block1_bn", "axis", 9), "does not describe"),
    "a huge low-rank update": (with_value("head", "lora_rank", 2**50), "lora_rank"),
    "channels first": (with_value("block1_conv", "data_format", "channels_first"), "data_format"),
    "settings that are none": (
        lambda config: layer(config, "head").update(config="units"),
        "does not describe",
    ),
    "no size": (with_value("head", "units", None), "does not describe"),
    "a negative size": (with_value("head", "units", -(2**50)), "does not describe"),
    "a layer used twice": (used_twice, "twice"),
    "too many layers": (with_many_layers, "parts; expected up to 20,000"),
}


@pytest.mark.parametrize(("change", "reason"), HOSTILE_CONFIGS.values(), ids=HOSTILE_CONFIGS)
def test_a_configuration_that_asks_for_more_than_a_network_is_refused(
    written, members, change, reason
):
    config = copy.deepcopy(members["config.json"])
    change(config)
    with pytest.raises(GraftError, match=reason):
        model_files.check(written(config_json=config))


def test_no_module_that_a_model_names_is_imported(written, members, tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    config = copy.deepcopy(members["config.json"])
    replaced(named("Layer", "planted", "Layer"))(config)
    with pytest.raises(GraftError, match="asks for 'Layer' of 'planted'"):
        load_model(written(config_json=config))
    assert "planted" not in sys.modules


def test_a_model_whose_outputs_lead_nowhere_is_refused(written, members):
    config = copy.deepcopy(members["config.json"])
    config["config"]["output_layers"] = "a"
    with pytest.raises(GraftError, match="no usable Keras model: maximum recursion depth"):
        load_model(written(config_json=config))


BROKEN_CONFIGS = {
    "no JSON": (b"{", "no usable"),
    "no UTF-8": (b"\xff\xfe\xff", "no usable"),
    "nested too deeply": (b"[" * 200_000, "maximum recursion depth"),
    "a number": (b"1", "is no model of the kind"),
    "another thing": (
        json.dumps(named("ReLU", "keras.layers")).encode(),
        "is no model of the kind",
    ),
    "too long": (b" " * (17 << 20), "expected up to 16,777,216"),
}


@pytest.mark.parametrize(("config", "reason"), BROKEN_CONFIGS.values(), ids=BROKEN_CONFIGS)
def test_a_broken_configuration_is_refused(written, config, reason):
    with pytest.raises(GraftError, match=reason):
        load_model(written(config_json=config))


def weights(fill):
    """Return the bytes of an HDF5 file that `fill` made."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def link_to(link):
    return lambda file: file.__setitem__("layers", link)


def bomb(file):
    file.create_dataset("a", (1 << 30,), np.float32, chunks=(1 << 20,), compression="gzip")


def virtual(file):
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource("/etc/hostname", "a", (4,))
    file.create_virtual_dataset("a", layout)


HOSTILE_WEIGHTS = {
    "a link to another file": (link_to(h5py.ExternalLink("/etc/hostname", "/")), "is a link"),
    "a link within": (link_to(h5py.SoftLink("/")), "is a link"),
    "the bytes of another file": (
        lambda file: file.create_dataset(
            "a", (4,), np.uint8, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        ),
        "not stored in one piece",
    ),
    "a view of another file": (virtual, "not stored in one piece"),
    "a bomb": (bomb, "not stored in one piece"),
    "more than there is": (
        lambda file: file.create_dataset("a", (1 << 40,), np.float32),
        "declared larger",
    ),
    "text": (lambda file: file.create_dataset("a", data=["x"]), "no array of numbers"),
    "references": (
        lambda file: file.create_dataset("a", data=[file.ref], dtype=h5py.ref_dtype),
        "no array of numbers",
    ),
    "a type": (lambda file: file.__setitem__("a", np.dtype("f4")), "no array of numbers"),
}


@pytest.mark.parametrize(("fill", "reason"), HOSTILE_WEIGHTS.values(), ids=HOSTILE_WEIGHTS)
def test_weights_that_are_more_than_arrays_are_refused(written, fill, reason):
    with pytest.raises(GraftError, match=reason):
        model_files.check(written(model_weights_h5=weights(fill)))


def test_a_group_that_holds_itself_is_walked_once(written):
    def loop(file):
        group = file.create_group("a")
        group["b"] = group

    with pytest.raises(GraftError, match=r"no usable Keras model: (Skipping|A total)"):
        load_model(written(model_weights_h5=weights(loop)))


def test_weights_of_another_model_are_refused(written):
    with pytest.raises(GraftError, match="no usable Keras model"):
        load_model(
            written(model_weights_h5=weights(lambda f: f.create_dataset("a", data=[0.0] * 9999)))
        )


HOSTILE_ARCHIVES = {
    "a way out": {"more": [("../planted", b"x")]},
    "an absolute way out": {"more": [("/tmp/planted", b"x")]},  # noqa: S108
    "assets": {"more": [("assets/layers/a/vocabulary.txt", b"x")]},
    "a bomb": {"compression": zipfile.ZIP_DEFLATED},
    "no weights": {"model_weights_h5": None},
    "no names": {"metadata_json": None},
}


@pytest.mark.parametrize("change", HOSTILE_ARCHIVES.values(), ids=HOSTILE_ARCHIVES)
@pytest.mark.parametrize("read", [load_class_names, load_model])
def test_an_archive_of_other_members_is_refused(written, tmp_path, change, read):
    path = written(**change)
    with pytest.raises(GraftError, match=r"model\.keras is no usable Keras model"):
        read(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["given", "model.keras"]


def test_a_member_that_stands_twice_is_refused(written):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = written(more=[("config.json", b"{}")])
    with pytest.raises(GraftError, match="no usable Keras model"):
        load_model(path)


@pytest.mark.parametrize(
    "metadata", [b"[" * 200_000, b'{"class_names": "012"}', b"1", b'{"class_names": [1]}']
)
def test_what_does_not_name_its_classes_is_refused(written, metadata):
    with pytest.raises(GraftError, match="no model of graft's"):
        load_class_names(written(metadata_json=metadata))


def test_a_layer_that_would_fill_the_memory_is_refused(tensorflow, tmp_path):
    import keras

    raw = keras.Input((4, 4, 1), dtype="uint8")
    large = keras.layers.Resizing(10**6, 10**6, name="adapter_resize")(raw)
    mean = keras.layers.GlobalAveragePooling2D()(large)
    save_model(tmp_path / "model.keras", keras.Model(raw, keras.layers.Dense(3)(mean)), NAMES)
    with pytest.raises(GraftError, match=r"adapter_resize returns \(1000000, 1000000, 1\)"):
        load_model(tmp_path / "model.keras")


@given(data=st.data())
def test_whatever_a_configuration_says_it_loads_or_is_refused(written, members, mutate, data):
    path = written(config_json=mutate(data, members["config.json"]))
    try:
        load_model(path)
    except GraftError as error:
        assert "no usable Keras model" in str(error)  # noqa: PT017 (either is right)


@settings(max_examples=2 * settings.default.max_examples)
@given(data=st.data())
def test_whatever_bytes_a_model_has_it_loads_or_is_refused(written, corrupt, data):
    path = written()
    path.write_bytes(corrupt(data, path.read_bytes()))
    try:
        load_class_names(path)
        load_model(path)
    except GraftError as error:
        assert "model.keras is no" in str(error)  # noqa: PT017


@given(data=st.data())
def test_whatever_bytes_the_weights_have_they_load_or_are_refused(written, members, corrupt, data):
    path = written(model_weights_h5=corrupt(data, members["model.weights.h5"]))
    try:
        load_model(path)
    except GraftError as error:
        assert "no usable Keras model" in str(error)  # noqa: PT017
