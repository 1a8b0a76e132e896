"""docs/adding-a-method.md, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"`([\w/]+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)```", re.DOTALL)


def insert(path, anchor, text):
    """Insert `text` after the first line of a file that starts with `anchor`."""
    lines = path.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if line.startswith(anchor))
    lines.insert(place + 1, text)
    path.write_text("".join(lines))


def follow(project, name, text):
    """Do with one block of the page what the page says."""
    path = project / name
    if path.name == "registry.py":
        line_of_import, line = text.splitlines(keepends=True)
        insert(path, f"from graft.{path.parent.name}.base", line_of_import)
        insert(path, f"{path.parent.name.upper()}: ", line)
    elif path.name == "params.yaml":
        insert(path, "methods:", text)
    else:
        assert not path.exists()
        path.write_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name in ("graft", "tests/penalties", "tests/strategies"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("params.yaml", "pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    blocks = BLOCK.findall((ROOT / "docs/adding-a-method.md").read_text())
    assert [name for name, _ in blocks] == [
        "graft/penalties/feature_distance.py",
        "graft/penalties/registry.py",
        "params.yaml",
        "graft/strategies/slow_body.py",
        "graft/strategies/registry.py",
        "params.yaml",
    ]
    for name, text in blocks:
        follow(folder, name, text)
    return folder


def run(project, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_check_knows_the_new_methods(project):
    output = run(project, "-c", "from graft.cli import main; main(['check'])")
    assert "methods.near_features" in output
    assert "methods.slow_body" in output


def test_the_new_members_keep_their_contracts(project):
    files = ("tests/penalties/test_penalties.py", "tests/strategies/test_strategies.py")
    names = "feature_distance or slow_body"
    output = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", names)
    passed = int(re.search(r"(\d+) passed", output).group(1))
    assert passed >= 20, output
    assert "failed" not in output
