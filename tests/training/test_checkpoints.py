import contextlib
import os
import time

import numpy as np
import pytest

from graft.core.fingerprint import Fingerprint
from graft.training import checkpoints
from graft.training.checkpoints import Checkpoint

ONE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b/c": np.array(0.1)}


def same(one, other):
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes()
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape)
    return True


def refuse():
    raise AssertionError("computed what an interrupted run had finished")


class KilledError(Exception):
    """What ends a stage early."""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A working directory that DVC takes for a repository."""
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def kept(name):
    """Return the checkpoint of a stage whose name says what it depends on."""
    return checkpoints.kept(Fingerprint(name, {}, {}))


def interrupt(digest, **work):
    """Run a stage that finishes `work` and is then interrupted."""
    with contextlib.suppress(KilledError), kept(digest) as checkpoint:
        for name, arrays in work.items():
            checkpoint.remembered(name, lambda arrays=arrays: arrays)
        raise KilledError


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def folders(repository):
    return sorted((repository / ".dvc/tmp/graft/checkpoints").iterdir())


def test_what_an_interrupted_run_finished_is_not_computed_again(repository, capsys):
    interrupt("digest", one=ONE)
    with kept("digest") as checkpoint:
        assert same(checkpoint.remembered("one", refuse), ONE)
        assert same(checkpoint.remembered("two", dict), {})
    assert capsys.readouterr().out == ("taking up an interrupted run: 1 of its results are kept\n")


def test_nothing_is_left_of_a_run_that_succeeds(repository):
    interrupt("digest", one=ONE)
    interrupt("other", one=ONE)
    with kept("digest") as checkpoint:
        checkpoint.remembered("one", refuse)
    (other,) = folders(repository)
    assert files(other) == ["one.npz"]


def test_another_fingerprint_is_another_checkpoint(repository, capsys):
    interrupt("digest", one=ONE)
    with kept("another") as checkpoint:
        assert checkpoint.read("one") is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("change", ["a library", "a setting"])
def test_what_other_libraries_or_settings_computed_is_not_taken_up(repository, monkeypatch, change):
    interrupt("digest", one=ONE)
    if change == "a library":
        monkeypatch.setattr(checkpoints, "version", lambda library: "0")
    else:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    with kept("digest") as checkpoint:
        assert checkpoint.read("one") is None


def test_checkpoints_lie_in_the_original_repository(tmp_path_factory, repository, monkeypatch):
    copy = tmp_path_factory.mktemp("copy")
    (copy / ".dvc").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(repository))
    monkeypatch.chdir(copy)
    interrupt("digest", one=ONE)
    assert files(copy) == []
    assert len(folders(repository)) == 1
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(repository)
    with kept("digest") as checkpoint:
        assert same(checkpoint.remembered("one", refuse), ONE)


def test_outside_a_repository_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    interrupt("digest", one=ONE)
    assert files(tmp_path) == []
    with kept("digest") as checkpoint:
        assert same(checkpoint.remembered("one", lambda: ONE), ONE)


# Files that cannot be trusted


def damaged(content, number):
    """Yield ways in which a file can be broken: cut short, with a wrong byte, with a hole."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        place = int(rng.integers(len(content)))
        yield content[:place]
        yield (
            content[:place]
            + bytes([content[place] ^ int(rng.integers(1, 256))])
            + content[place + 1 :]
        )
        yield content[:place].ljust(len(content), b"\0")


def test_a_torn_file_is_computed_again(tmp_path, capsys):
    folder = tmp_path / "digest"
    Checkpoint(folder).write("one", ONE)
    path = folder / "one.npz"
    content = path.read_bytes()
    noted = 0
    for broken in damaged(content, 200):
        path.write_bytes(broken)
        found = Checkpoint(folder).read("one")
        # A byte that no checksum covers, such as a file's time, may be any.
        assert found is None or same(found, ONE)
        noted += found is None
    assert noted > 400
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == noted
    assert all("computed anew" in note for note in notes)


def test_a_file_of_another_checkpoint_is_not_taken_up(tmp_path, capsys):
    Checkpoint(tmp_path / "digest").write("one", ONE)
    for folder, name in (("another", "one"), ("digest", "two")):
        target = tmp_path / folder / f"{name}.npz"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((tmp_path / "digest/one.npz").read_bytes())
        assert Checkpoint(tmp_path / folder).read(name) is None
        assert "is not what it is called" in capsys.readouterr().err


def test_objects_are_not_unpickled(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    folder = tmp_path / "digest"
    folder.mkdir()
    np.savez(folder / "one.npz", contents=["digest/one", "a"], a=np.array([Trap()], dtype=object))
    assert Checkpoint(folder).read("one") is None
    assert not (tmp_path / "sprung").exists()


# Faults and others


def test_where_nothing_can_be_written_the_work_goes_on(tmp_path, capsys):
    (tmp_path / "file").touch()
    checkpoint = Checkpoint(tmp_path / "file" / "digest")
    for name in ("one", "two"):
        assert same(checkpoint.remembered(name, lambda: ONE), ONE)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("graft: an interrupted run could not be taken up from here: ")


def test_two_runs_of_the_same_work_do_not_disturb_each_other(repository):
    """One takes up what the other has finished, and goes on after the other has cleaned up."""
    with kept("digest") as slow:
        with kept("digest") as quick:
            quick.remembered("one", lambda: ONE)
            assert same(slow.remembered("one", refuse), ONE)
        assert slow.read("one") is None
        assert same(slow.remembered("one", lambda: ONE), ONE)
        assert same(slow.remembered("one", refuse), ONE)
    assert folders(repository) == []


def test_a_half_written_file_of_a_killed_run_is_not_read(repository):
    interrupt("digest", one=ONE)
    (folder,) = folders(repository)
    (folder / ".abc.npz").write_bytes(b"half")
    (folder / "..abc.npz.partial").write_bytes(b"half")
    with kept("digest") as checkpoint:
        assert checkpoint.finished() == 1
    assert folders(repository) == []


def test_checkpoints_that_nobody_takes_up_are_forgotten_after_a_while(repository):
    interrupt("old", one=ONE)
    (old,) = folders(repository)
    interrupt("young", one=ONE)
    days = 86400 * np.array([31, 29])
    for folder, age in zip([old, *set(folders(repository)) - {old}], days, strict=True):
        os.utime(folder, (time.time() - age,) * 2)
    with kept("another"):
        assert old not in folders(repository)
        assert len(folders(repository)) == 1


def test_the_oldest_of_too_many_bytes_are_forgotten_and_the_newest_never(repository, monkeypatch):
    for number in range(4):
        interrupt(str(number), one=ONE)
        (new,) = [f for f in folders(repository) if f.stat().st_mtime > time.time() - 60]
        os.utime(new, (time.time() - 1000 + number,) * 2)
    by_age = sorted(folders(repository), key=lambda folder: folder.stat().st_mtime)
    size = (by_age[0] / "one.npz").stat().st_size
    monkeypatch.setattr(checkpoints, "_KEPT_BYTES", 1.5 * size)
    with kept("another"):
        assert folders(repository) == sorted(by_age[2:])
    monkeypatch.setattr(checkpoints, "_KEPT_BYTES", 0)
    with kept("another"):
        assert folders(repository) == by_age[3:]


# A long training


def test_a_training_saves_itself_now_and_then_and_goes_on_from_there(tmp_path, monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    training = Checkpoint(tmp_path).training("long")
    assert (training.step, training.state, training.noted) == (0, None, {})
    saved = []

    def state():
        nonlocal now
        now += 0.5  # what saving takes
        saved.append(step)
        return {"weight": np.array(step)}

    for step in range(1, 101):
        now += 1.0
        training.noted[step] = step / 3
        training.save(step, state)
    # After a second; then saving takes no more than one part in a hundred.
    assert saved == [1, 51]
    again = Checkpoint(tmp_path).training("long")
    assert again.step == 51
    assert again.noted == {step: step / 3 for step in range(1, 52)}
    assert {name: value.item() for name, value in again.state.items()} == {"weight": 51}
    assert capsys.readouterr().out == "taking up an interrupted training after step 51\n"


def test_the_state_of_a_training_is_no_finished_work(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SECONDS", 0)
    checkpoint = Checkpoint(tmp_path)
    checkpoint.training("long").save(1, dict)
    assert checkpoint.finished() == 0
    assert Checkpoint(tmp_path).training("long").step == 1
