"""The contract that every network keeps."""

import json
import zipfile

import numpy as np
import pytest
from pydantic import ValidationError

from graft.core.artifacts import load_model, save_model
from graft.core.network import Network, block_of
from graft.networks.registry import NETWORKS

pytestmark = pytest.mark.usefixtures("tensorflow")

# Small enough to be quick; a network that is not named here is built at its own size.
TINY = {"article": {"image_size": 8}, "resnet": {"image_size": 8}, "small_cnn": {"image_size": 8}}
NARROW = {"resnet": {"width": 2}, "small_cnn": {"width": 2}}


@pytest.fixture(params=NETWORKS)
def architecture(request):
    """Return the settings of one network that sees colour."""
    name = request.param
    return NETWORKS[name](**TINY.get(name, {}), **NARROW.get(name, {}), channels=3)


@pytest.fixture
def network(architecture):
    return architecture.build((6, 9, 1), 4, seed=3)


@pytest.fixture(scope="module")
def raw():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 9, 1), np.uint8)


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((8, 8, 1), 1), ((8, 8, 3), 1), ((5, 9, 1), 3), ((12, 7, 3), 3)],
    ids=["as it is", "colour to grey", "grey to colour, other size", "other size"],
)
def test_raw_images_give_probabilities(architecture, shape, channels):
    network = architecture.model_copy(update={"channels": channels}).build(shape, 4, seed=0)
    images = np.random.default_rng(1).integers(0, 256, (5, *shape), np.uint8)
    probabilities = network.probabilities(images)
    assert (probabilities.shape, probabilities.dtype) == ((5, 4), np.float32)
    assert probabilities.min() > 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert len(np.unique(probabilities, axis=0)) == 5
    assert (network.input_shape, network.num_classes) == (shape, 4)


def test_layers_are_named_by_their_blocks(network):
    names = [layer.name for layer in network.model.layers]
    blocks = list(dict.fromkeys(name.split("_")[0] for name in names))
    assert names[0] == "raw"
    assert names[-3:] == ["features", "head", "probabilities"]
    assert blocks == ["raw", "adapter", *network.blocks[:-1], "features", "head", "probabilities"]


def test_blocks_are_what_learns_and_end_in_the_head(architecture, network):
    assert network.blocks == (*architecture.body_blocks, "head")
    assert len(network.blocks) > 1
    assert tuple(dict.fromkeys(map(block_of, network.tensors))) == network.blocks
    assert [path for path in network.tensors if block_of(path) == "head"] == [
        "head/kernel",
        "head/bias",
    ]


def test_parameters_are_the_tensors_without_the_moving_statistics(network):
    moving = {path for path in network.tensors if "/moving_" in path}
    assert network.parameters.keys() == network.tensors.keys() - moving
    assert len(moving) == 2 * len(network.batch_norms)
    assert list(network.parameters) == [
        variable.path for variable in network.model.trainable_weights
    ]


def test_the_same_seed_gives_the_same_weights(architecture, network):
    again = architecture.build((6, 9, 1), 4, seed=3).weights()
    assert again.keys() == network.tensors.keys()
    for path, value in network.weights().items():
        assert value.tobytes() == again[path].tobytes(), path


def test_another_seed_gives_other_kernels(architecture, network):
    other = architecture.build((6, 9, 1), 4, seed=4).weights()
    for path, value in network.weights().items():
        if path.endswith("/kernel"):
            assert not np.any(value == other[path]), path


def test_tasks_of_other_shapes_share_all_but_the_head(architecture, network):
    other = architecture.build((11, 5, 3), 7, seed=0).tensors
    shared = {path: v.shape for path, v in network.tensors.items() if block_of(path) != "head"}
    assert shared == {path: v.shape for path, v in other.items() if block_of(path) != "head"}


def test_probabilities_are_the_softmax_of_a_linear_head_on_the_features(network, raw):
    features = network.features(raw)
    logits = features @ network.weights()["head/kernel"] + network.weights()["head/bias"]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert features.dtype == np.float32
    np.testing.assert_allclose(network.probabilities(raw), expected, rtol=1e-4)


def test_the_size_of_the_batches_does_not_matter(network, raw):
    whole = network.probabilities(raw)
    np.testing.assert_allclose(network.probabilities(raw, batch_size=2), whole, rtol=1e-5)


def test_a_saved_network_comes_back_whole(tmp_path, network, raw):
    save_model(tmp_path / "a.keras", network.model, "abcd")
    loaded = Network(load_model(tmp_path / "a.keras"))
    assert np.array_equal(loaded.probabilities(raw), network.probabilities(raw))
    assert loaded.blocks == network.blocks
    assert list(loaded.tensors) == list(network.tensors)


def modules_of(config):
    if isinstance(config, dict):
        if isinstance(config.get("module"), str):
            yield config["module"], config.get("registered_name")
        for value in config.values():
            yield from modules_of(value)
    elif isinstance(config, list):
        for item in config:
            yield from modules_of(item)


@pytest.mark.parametrize("shape", [(6, 9, 1), (6, 9, 3)], ids=["grey", "colour"])
def test_a_saved_network_holds_nothing_but_what_keras_knows(tmp_path, architecture, shape):
    network = architecture.model_copy(update={"channels": 1}).build(shape, 4, seed=0)
    save_model(tmp_path / "a.keras", network.model, "abcd")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        config = json.loads(archive.read("config.json"))
    modules = set(modules_of(config))
    assert modules
    for module, registered in modules:
        assert module == "keras" or module.startswith(("keras.", "builtins"))
        assert registered is None or ">" not in registered


def test_the_same_network_built_twice_gives_the_same_file(tmp_path, architecture):
    for name in ("one", "other"):
        network = architecture.model_copy(update={"channels": 1}).build((6, 9, 3), 4, seed=0)
        save_model(tmp_path / name, network.model, "abcd")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_a_copy_is_equal_and_its_own(network, raw):
    twin = network.copy()
    before = network.weights()
    assert np.array_equal(twin.probabilities(raw), network.probabilities(raw))
    twin.assign({path: value + 1 for path, value in before.items()})
    for path, value in network.weights().items():
        assert np.array_equal(value, before[path]), path


def test_assigning_some_tensors_leaves_the_others(network):
    before = network.weights()
    network.assign({"head/bias": np.arange(4, dtype=np.float32)})
    after = network.weights()
    assert after.pop("head/bias").tolist() == [0, 1, 2, 3]
    assert all(np.array_equal(value, before[path]) for path, value in after.items())


def test_settings_survive_being_written_down(architecture):
    assert type(architecture)(**json.loads(architecture.model_dump_json())) == architecture


def test_settings_are_frozen_and_strict(architecture):
    with pytest.raises(ValidationError, match="frozen"):
        architecture.image_size = 16
    with pytest.raises(ValidationError, match="unknown key 'image_sise'"):
        type(architecture)(image_sise=16)
    with pytest.raises(ValidationError, match="1 or 3"):
        type(architecture)(channels=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_goes_by_its_name(name):
    assert NETWORKS[name]().name == name
