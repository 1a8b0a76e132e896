"""One's own data under data/raw, in two versions, as git and DVC keep them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

ROOT = Path(__file__).parent.parent
DATA = "data/raw/my-images.zip"


@pytest.fixture
def git(tmp_path):
    """A repository with this project's .gitignore and two versions of one's own data."""

    def run(*command):
        author = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
        done = subprocess.run(
            ["git", *author, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout

    run("init", "-q", "-b", "main")
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/.gitkeep").touch()
    with Repo.init(tmp_path) as repo:
        for version in ("first", "second"):
            (tmp_path / DATA).write_text(version)
            repo.add(str(tmp_path / DATA))
            run("add", "-A")
            run("commit", "-q", "-m", version)
            run("tag", version)
    return run


def test_git_keeps_the_dvc_file_and_not_the_data(git):
    assert git("ls-files", "data").split() == ["data/raw/.gitkeep", f"{DATA}.dvc"]
    assert git("status", "--short") == ""


def test_dvc_checkout_brings_the_version_that_git_has_checked_out(git, tmp_path):
    for version in ("first", "second"):
        git("checkout", "-q", version)
        with Repo(tmp_path) as repo:
            repo.checkout()
        assert (tmp_path / DATA).read_text() == version


def test_dvc_push_sends_the_data(git, tmp_path):
    with Repo(tmp_path) as repo, repo.config.edit() as config:
        config["remote"] = {"store": {"url": str(tmp_path / "remote")}}
    with Repo(tmp_path) as repo:
        assert repo.push(remote="store") == 1
