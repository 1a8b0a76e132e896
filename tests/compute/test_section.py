import os
import subprocess
import sys

import numpy as np
import pytest

from graft.compute.runtime import start_tensorflow
from graft.compute.section import ComputeSection, computing_in, device_here, precision_here
from graft.core.artifacts import load_model, save_model
from graft.core.errors import GraftError
from graft.core.network import Network
from graft.finetuning.finetuner import Finetuner
from graft.finetuning.methods import Method
from graft.penalties.base import SourceTask
from graft.penalties.delta import Delta
from graft.strategies.base import Phase
from graft.strategies.full import Full
from graft.training.loop import Recipe, TrainingLoop

RECIPE = Recipe(steps=8, batch_size=8, learning_rate=0.01)


def seeded():
    return np.random.default_rng(0)


@pytest.fixture
def cpu_flags(tensorflow, monkeypatch, tmp_path):
    """Let the processor say that it can do this and that."""

    def claim(*flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor : 0\nflags : fpu {' '.join(flags)} sse\n")
        monkeypatch.setattr("graft.compute.section._CPU_FLAGS", path)

    return claim


def trained(network, images, labels, precision, **options):
    phases = [Phase(dict.fromkeys(network.blocks, 1.0))]
    before = network.weights()
    loop = TrainingLoop(network, phases, RECIPE, precision=precision, **options)
    curve = loop.fit(images, labels, seeded())
    after = network.weights()
    network.assign(before)
    return after, curve


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ((), "float32"),
        (("avx512f",), "float32"),
        (("avx512_bf16",), "bfloat16"),
        (("amx_bf16",), "bfloat16"),
    ],
    ids=str,
)
def test_auto_is_bfloat16_where_the_processor_has_it(cpu_flags, flags, precision):
    cpu_flags(*flags)
    assert precision_here("auto") == precision
    chosen = ComputeSection(precision="auto", threads=3).chosen()
    assert chosen == {"precision": precision, "device": "cpu", "threads": 3}


def test_auto_is_float32_where_nothing_is_known_of_the_processor(tensorflow, monkeypatch, tmp_path):
    monkeypatch.setattr("graft.compute.section._CPU_FLAGS", tmp_path / "missing")
    assert precision_here("auto") == "float32"


TRAINING = """
import hashlib, os
import numpy as np
from graft.compute.section import ComputeSection, threads_here
from graft.networks.small_cnn import SmallCNN
from graft.compute.runtime import start_tensorflow
from graft.strategies.full import Full
from graft.training.loop import Recipe, TrainingLoop

compute = ComputeSection(threads={threads!r})
start_tensorflow(compute)
rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (64, 32, 32, 3), np.uint8), np.arange(64) % 10
network = SmallCNN(image_size=32, channels=3).build((32, 32, 3), 10, seed=0)
recipe = Recipe(steps=3, batch_size=64, learning_rate=0.001)
TrainingLoop(network, Full().phases(network.blocks), recipe).fit(images, labels, rng)
left, right = (rng.standard_normal(shape, np.float32) for shape in ((500, 3000), (3000, 300)))
weights = b"".join(value.tobytes() for value in network.weights().values())
print(threads_here(compute.threads), hashlib.sha256(weights + (left @ right).tobytes()).hexdigest())
"""


def result_of_training(threads, cores):
    """Return the threads and a hash of the weights of a process that has so many cores."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_NUM_")}
    done = subprocess.run(
        [sys.executable, "-c", TRAINING.format(threads=threads)],
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
        capture_output=True,
        text=True,
        check=True,
    )
    used, digest = done.stdout.split()
    return int(used), digest


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_number_of_threads_gives_the_same_bytes_on_any_number_of_cores():
    two = sorted(os.sched_getaffinity(0))[:2]
    assert result_of_training(2, two) == result_of_training(2, two[:1])
    assert result_of_training("auto", two)[0] == 2
    assert result_of_training("auto", two[:1])[0] == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_named_precision_is_what_it_says_on_any_processor(cpu_flags, precision):
    cpu_flags()
    assert precision_here(precision) == precision


def test_layers_compute_in_bfloat16_inside_the_block_alone(tensorflow, norm_network):
    images = np.zeros((1, 8, 8, 1), np.uint8)
    body = norm_network.body
    assert {layer.name.split("_")[0] for layer in body} == {"stem", "block1", "block2", "block3"}
    with computing_in("bfloat16", body):
        features, logits = norm_network.outputs(images)
        assert {layer.compute_dtype for layer in body} == {"bfloat16"}
        assert (features.dtype, logits.dtype) == (tensorflow.float32, tensorflow.float32)
    assert {layer.compute_dtype for layer in norm_network.model.layers[1:]} == {"float32"}


def test_mixed_training_moves_float32_weights_nearly_as_float32_does(norm_network, images, labels):
    exact, exact_curve = trained(norm_network, images, labels, "float32")
    mixed, mixed_curve = trained(norm_network, images, labels, "bfloat16")
    assert {value.dtype.name for value in mixed.values()} == {"float32"}
    kernel = "stem_conv1/kernel"
    assert mixed[kernel].tobytes() != exact[kernel].tobytes()
    assert mixed_curve[-1][1] == pytest.approx(exact_curve[-1][1], rel=0.05)


def test_mixed_training_gives_the_same_bytes_again(norm_network, images, labels):
    first, _ = trained(norm_network, images, labels, "bfloat16")
    second, _ = trained(norm_network, images, labels, "bfloat16")
    assert {p: v.tobytes() for p, v in first.items()} == {p: v.tobytes() for p, v in second.items()}


def test_bfloat16_reaches_stochastic_norm_too(norm_network, images, labels):
    exact, _ = trained(norm_network, images, labels, "float32", batch_norm="stochastic")
    mixed, _ = trained(norm_network, images, labels, "bfloat16", batch_norm="stochastic")
    assert mixed["stem_conv1/kernel"].tobytes() != exact["stem_conv1/kernel"].tobytes()


def test_a_penalty_that_compares_feature_maps_does_so_in_float32(small_network, images, labels):
    source = SourceTask(small_network.copy(), images, labels, images, labels)
    method = Method(strategy=Full(), penalty=Delta(strength=0.1))
    finetuner = Finetuner(small_network, method, RECIPE, source, precision="bfloat16")
    finetuned = finetuner.train(images, labels, seeded())
    assert {value.dtype.name for value in finetuned.weights.values()} == {"float32"}
    assert np.isfinite(finetuned.curve[-1][1])


def test_a_model_that_was_trained_in_bfloat16_is_plain_float32(
    small_network, images, labels, tmp_path
):
    untrained = small_network.model.get_config()
    weights, _ = trained(small_network, images, labels, "bfloat16")
    small_network.assign(weights)
    assert small_network.model.get_config() == untrained
    save_model(tmp_path / "model.keras", small_network.model, ["a", "b", "c"])
    loaded = load_model(tmp_path / "model.keras")
    assert {layer.compute_dtype for layer in loaded.layers[1:]} == {"float32"}
    assert np.array_equal(
        Network(loaded).probabilities(images), small_network.probabilities(images)
    )


def test_a_gpu_that_is_not_there_is_refused(tensorflow, monkeypatch):
    monkeypatch.setattr(tensorflow.config, "get_visible_devices", lambda _: [])
    with pytest.raises(GraftError, match=r"compute\.device: received gpu, but TensorFlow sees no"):
        start_tensorflow(ComputeSection(device="gpu"))


def test_a_gpu_that_is_not_wanted_is_left_alone(tensorflow, monkeypatch):
    visible = []
    monkeypatch.setattr(tensorflow.config, "set_visible_devices", lambda *a: visible.append(a))
    start_tensorflow(ComputeSection(device="cpu"))
    assert visible == [([], "GPU")]


def test_a_gpu_is_taken_bit_by_bit_and_its_kind_decides(tensorflow, monkeypatch):
    """What TensorFlow is asked; there is none here to try it on."""
    grown = []
    config = tensorflow.config
    monkeypatch.setattr(config, "get_visible_devices", lambda _: ["gpu:0"])
    monkeypatch.setattr(config.experimental, "set_memory_growth", lambda *a: grown.append(a))
    start_tensorflow(ComputeSection(device="gpu"))
    assert grown == [("gpu:0", True)]
    assert device_here() == "gpu"
    for capability, precision in (((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        details = {"compute_capability": capability}
        monkeypatch.setattr(config.experimental, "get_device_details", lambda _, d=details: d)
        assert precision_here("auto") == precision
