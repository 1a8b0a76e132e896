import hashlib
import json

import pytest

from graft.core.errors import GraftError
from graft.core.fingerprint import Fingerprint, fingerprint, locked

PIPELINE = """\
stages:
  finetune:
    matrix:
      source: ${source.candidates}
      method: ${finetune.methods}
    cmd: python -m stages.finetune ${item.source} ${item.method}
    params: [seed, "methods.${item.method}", finetune.training]
    deps: [code.py, package, "data/${item.source}"]
  evaluate:
    cmd: python -m stages.evaluate
"""

PARAMS = """\
seed: 1
methods: {full: {rate: 1e-3}, probe: {rate: null}}
finetune: {methods: [full], training: {steps: 4}}
unrelated: 1
"""

COMMAND = "python -m stages.finetune low full"


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def folder_md5(files):
    entries = [{"md5": md5(content), "relpath": path} for path, content in files]
    return f"{md5(json.dumps(entries).encode())}.dir"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {
        "dvc.yaml": PIPELINE,
        "params.yaml": PARAMS,
        ".dvcignore": "__pycache__/\n*.pyc\n",
        "code.py": "one",
        "package/b.py": "b",
        "package/a/c.py": "c",
        "package/a/__pycache__/c.txt": "compiled",
        "package/d.pyc": "compiled",
        "data/low": "data",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def digest():
    return fingerprint("finetune", source="low", method="full").digest


def test_a_fingerprint_holds_command_parameters_and_hashes(project):
    made = fingerprint("finetune", source="low", method="full")
    assert made.command == COMMAND
    assert made.params == {
        "seed": 1,
        "methods.full": {"rate": 0.001},
        "finetune.training": {"steps": 4},
    }
    assert made.deps == {
        "code.py": md5(b"one"),
        "package": folder_md5([("a/c.py", b"c"), ("b.py", b"b")]),
        "data/low": md5(b"data"),
    }


def test_a_stage_that_declares_nothing_has_its_command(project):
    assert fingerprint("evaluate") == Fingerprint("python -m stages.evaluate", {}, {})


def test_the_digest_is_of_the_content_and_not_of_its_order():
    one = Fingerprint("run", {"a": 1, "b": {"c": 2, "d": 3}}, {"x": "1", "y": "2"})
    other = Fingerprint("run", {"b": {"d": 3, "c": 2}, "a": 1}, {"y": "2", "x": "1"})
    assert one.digest == other.digest
    content = '{"command": "run", "deps": {"x": "1", "y": "2"}, '
    content += '"params": {"a": 1, "b": {"c": 2, "d": 3}}}'
    assert one.digest == hashlib.sha256(content.encode()).hexdigest()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("code.py", "two"),
        ("package/a/c.py", "d"),
        ("package/new.py", ""),
        ("data/low", "other"),
        ("params.yaml", PARAMS.replace("1e-3", "2e-3")),
        ("dvc.yaml", PIPELINE.replace("python -m", "python -X dev -m")),
    ],
)
def test_what_the_stage_declares_changes_the_digest(project, path, text):
    before = digest()
    (project / path).write_text(text, encoding="utf-8")
    assert digest() != before


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("package/d.pyc", "compiled anew"),
        ("package/a/__pycache__/c.txt", "compiled anew"),
        ("other.py", "new"),
        ("params.yaml", PARAMS.replace("unrelated: 1", "unrelated: 2")),
        ("params.yaml", PARAMS.replace("1e-3", "0.001")),
        ("params.yaml", PARAMS.replace("rate: null", "rate: 1")),
    ],
)
def test_nothing_else_changes_the_digest(project, path, text):
    before = digest()
    (project / path).write_text(text, encoding="utf-8")
    assert digest() == before


def test_a_locked_stage_has_the_fingerprint_with_which_it_ran(project):
    made = fingerprint("finetune", source="low", method="full")
    deps = "".join(f"    - {{path: {p}, hash: md5, md5: {h}}}\n" for p, h in made.deps.items())
    (project / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  finetune@low-full:\n    cmd: {COMMAND}\n    deps:\n{deps}"
        "    params:\n      params.yaml:\n        finetune.training: {steps: 4}\n"
        "        methods.full: {rate: 0.001}\n        seed: 1\n"
        "    outs:\n    - {path: models/low, hash: md5, md5: '00'}\n"
        "  evaluate:\n    cmd: python -m stages.evaluate\n",
        encoding="utf-8",
    )
    low, evaluate = locked()["finetune@low-full"], locked()["evaluate"]
    assert low.fingerprint == made
    assert low.item == {"source": "low", "method": "full"}
    assert low.outs == {"models/low": "00"}
    assert (evaluate.fingerprint, evaluate.item) == (fingerprint("evaluate"), {})


def test_without_dvc_lock_nothing_is_locked(project):
    assert locked() == {}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda p: (p / "code.py").unlink(),
            r"^code\.py, which dvc\.yaml declares, cannot be read",
        ),
        (lambda p: (p / "dvc.yaml").unlink(), r"^dvc\.yaml cannot be read: .* graft project$"),
        (lambda p: (p / "dvc.yaml").write_text("- 1"), "^dvc.yaml: received list; expected a map"),
        (
            lambda p: (p / "params.yaml").write_text("seed: 1"),
            r"^params\.yaml has no 'methods\.full', which dvc\.yaml declares; add it$",
        ),
        (
            lambda p: (p / "dvc.yaml").write_text("stages: {other: {cmd: run}}"),
            r"^dvc\.yaml has no stage 'finetune'; it has: other$",
        ),
    ],
)
def test_what_is_missing_is_named(project, break_it, message):
    break_it(project)
    with pytest.raises(GraftError, match=message):
        digest()
