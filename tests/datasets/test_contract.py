"""What every data set in the registry promises."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from graft.core.errors import GraftError
from graft.datasets.arrays import Arrays
from graft.datasets.handwritten_digits import HandwrittenDigits
from graft.datasets.images import Images
from graft.datasets.keras_datasets import Cifar10, Cifar100, FashionMnist, Mnist
from graft.datasets.printed_digits import PrintedDigits
from graft.datasets.registry import DATASETS

from .conftest import png, write_zip

SMALL = {
    "arrays": Arrays(path="arrays.npz"),
    "cifar10": Cifar10(),
    "cifar100": Cifar100(),
    "fashion_mnist": FashionMnist(),
    "handwritten-digits": HandwrittenDigits(),
    "images": Images(path="images.zip", image_size=(4, 6)),
    "mnist": Mnist(),
    "printed-digits": PrintedDigits(per_class=3, characters="0123"),
}

pytestmark = pytest.mark.usefixtures("keras_cache")
every_dataset = pytest.mark.parametrize("name", sorted(DATASETS))


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 5, 5), np.uint8)
    np.savez(folder / "arrays.npz", x=images, y=np.array(["c", "a", "b"] * 3))
    files = {f"{name}/{number}.png": png(number) for name in "cab" for number in range(3)}
    write_zip(folder / "images.zip", files)
    return folder


@pytest.fixture
def load(raw, tmp_path):
    def loaded(name, classes=None, seed=0):
        workspace = tmp_path / f"workspace{len(list(tmp_path.iterdir()))}"
        workspace.mkdir()
        return SMALL[name].load(raw, classes, np.random.default_rng(seed), workspace)

    return loaded


def test_every_data_set_is_tested():
    assert set(SMALL) == set(DATASETS)


@every_dataset
def test_the_registry_names_the_class(name):
    assert type(SMALL[name]) is DATASETS[name]
    assert SMALL[name].name == name


@every_dataset
def test_examples_have_their_shapes_and_types(name, load):
    examples = load(name)
    count = len(examples.labels)
    assert examples.inputs.dtype == np.uint8
    assert examples.inputs.ndim == 4
    assert len(examples.inputs) == count
    assert examples.inputs.shape[3] in (1, 3)
    assert examples.labels.dtype == np.int32
    assert examples.labels.shape == (count,)
    assert set(examples.labels.tolist()) == set(range(len(examples.class_names)))
    assert all(isinstance(class_name, str) for class_name in examples.class_names)
    if examples.is_test is not None:
        assert examples.is_test.dtype == np.bool_
        assert examples.is_test.shape == (count,)
        assert 0 < examples.is_test.sum() < count


@every_dataset
def test_one_stream_gives_one_result(name, load):
    first, second = load(name), load(name)
    assert first.inputs.tobytes() == second.inputs.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.class_names == second.class_names


@every_dataset
def test_chosen_classes_are_labelled_in_the_order_asked_for(name, load):
    everything = load(name)
    names = (everything.class_names[2], everything.class_names[0])
    chosen = load(name, names)
    assert chosen.class_names == names
    for label, place in enumerate((2, 0)):
        assert np.array_equal(
            chosen.inputs[chosen.labels == label], everything.inputs[everything.labels == place]
        )


@every_dataset
def test_an_unknown_class_is_answered_with_the_names(name, raw, load):
    available = load(name).class_names
    for call in (lambda: SMALL[name].check(raw, ["nope"]), lambda: load(name, ["nope"])):
        with pytest.raises(GraftError, match="no class 'nope' here; expected one of: ") as caught:
            call()
        assert all(class_name in str(caught.value) for class_name in available)


@every_dataset
def test_a_class_listed_twice_is_refused(name, raw, load):
    first = load(name).class_names[0]
    with pytest.raises(GraftError, match="listed more than once"):
        SMALL[name].check(raw, [first, first])


@every_dataset
def test_check_accepts_what_load_accepts(name, raw):
    SMALL[name].check(raw, None)


@every_dataset
def test_settings_survive_json(name):
    adapter = TypeAdapter(DATASETS[name])
    assert adapter.validate_json(SMALL[name].model_dump_json()) == SMALL[name]


@every_dataset
def test_settings_are_frozen_and_strict(name):
    with pytest.raises(ValidationError, match="frozen"):
        SMALL[name].name = "other"
    with pytest.raises(ValidationError, match="unknown key 'typo'"):
        DATASETS[name](typo=1)


def test_importing_the_registry_imports_nothing_heavy():
    heavy = ["keras", "tensorflow", "sklearn", "scipy", "PIL", "matplotlib", "mlflow", "rich"]
    code = f"import graft.datasets.registry, sys; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
