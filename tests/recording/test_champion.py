"""The chosen model as MLflow has it and serves it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from graft.core import tracking
from graft.core.artifacts import save_model
from graft.core.tracking.spool import Spool
from graft.recording.champion import CHAMPION, REGISTERED, crown
from graft.recording.store import Store

MLFLOW = Path(sys.executable).with_name("mlflow")

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def example():
    return np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)


@pytest.fixture
def chosen(root, linear_network, example):
    """Record a model as `evaluate` does; return the network."""
    save_model(root / "target.keras", linear_network.model, ["a", "b", "c"])
    record_model(root, example)
    return linear_network


def record_model(root, example):
    with tracking.run("evaluate", {}) as record:
        record.model(root / "target.keras", ["a", "b", "c"], example[:1])


def registered():
    """Return a client, and the version that the alias names."""
    client = Store(Spool.here()).client
    return client, client.get_model_version_by_alias(REGISTERED, CHAMPION)


def test_the_model_is_logged_with_what_it_takes_and_gives(root, chosen, example):
    from mlflow.models import get_model_info

    client, version = registered()
    (run,) = client.search_runs([Store(Spool.here()).experiment])
    assert version.run_id == run.info.run_id
    (output,) = run.outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"
    info = get_model_info(f"models:/{REGISTERED}@{CHAMPION}")
    (takes,), (gives,) = info.signature.inputs.inputs, info.signature.outputs.inputs
    assert (takes.type, takes.shape) == (np.dtype(np.uint8), (-1, 4, 4, 1))
    assert (gives.type, gives.shape) == (np.dtype(np.float32), (-1, 3))
    assert info.metadata == {"class_names": ["a", "b", "c"]}
    folder = Path(
        client.get_logged_model(output.model_id).artifact_location.removeprefix("file://")
    )
    assert json.loads((folder / "input_example.json").read_text()) == example[:1].tolist()
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in requirements] == [
        "mlflow",
        "keras",
        "tensorflow",
        "numpy",
    ]
    assert all("==" in line for line in requirements)
    code = (folder / "served_model.py").read_text()
    assert "import graft" not in code
    assert "from graft" not in code


def test_the_newest_model_of_the_workspace_is_the_champion(root, chosen, example, monkeypatch):
    client, first = registered()
    record_model(root, example)
    _, second = registered()
    assert (first.version, second.version) == (1, 2)
    # An experiment that DVC runs in a copy of the repository registers its model, and no more.
    copy = root / "copy"
    copy.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(copy)
    record_model(root, example)
    _, champion = registered()
    assert (champion.version, len(client.search_model_versions())) == (2, 3)
    crown(Store(Spool.here()), first.run_id)
    assert registered()[1].version == 1


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def server(root, chosen):
    """Serve the champion as the README says; yield its address."""
    port = free_port()
    command = [MLFLOW, "models", "serve", "-m", f"models:/{REGISTERED}@{CHAMPION}"]
    log = root / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "--port", str(port)],
            env={
                **os.environ,
                "PATH": f"{MLFLOW.parent}:{os.environ['PATH']}",
                "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}",
            },
            cwd=root,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        patience = time.monotonic() + 300
        while not answers(f"{address}/ping"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < patience, log.read_text()
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=60) as response:  # noqa: S310
            return response.status == 200
    except OSError:
        return False


def ask(server, body):
    request = urllib.request.Request(  # noqa: S310
        f"{server}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        return json.load(response)["predictions"]


def test_a_request_is_answered_with_class_probabilities(server, chosen, example):
    answered = ask(server, {"inputs": example.tolist()})
    np.testing.assert_allclose(answered, chosen.probabilities(example), rtol=1e-5)
    np.testing.assert_allclose(np.sum(answered, axis=1), 1, rtol=1e-5)
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(server, {"inputs": example[:, :3].tolist()})
    assert refused.value.code == 400
    refused.value.close()


ALONE = """
import sys
from pathlib import Path
from graft.core.tracking.spool import Spool
from graft.recording.champion import REGISTERED, log_model
from graft.recording.store import Store

store = Store(Spool.here())
run = store.create("evaluate", {}, start=0)
print(*sorted({"pandas", "pyarrow", "scipy"} & set(sys.modules)))
log_model(store, run, Path(sys.argv[1]), ["a", "b", "c"], champion=True)
print(store.model_versions(REGISTERED, run))
"""


def test_pandas_and_what_goes_with_it_are_imported_for_a_model_alone(root, linear_network, example):
    save_model(root / "model.keras", linear_network.model, ["a", "b", "c"])
    np.save(root / "example.npy", example)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(root)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "\n['1']\n"
