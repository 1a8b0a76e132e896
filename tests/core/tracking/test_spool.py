import json
import os
import time

import psutil
import pytest

from graft.core.errors import GraftError
from graft.core.tracking import spool as spool_module
from graft.core.tracking.invocation import Process
from graft.core.tracking.spool import Spool

pytestmark = pytest.mark.usefixtures("no_tracking_settings")


@pytest.fixture
def spool(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Spool.here()


def test_the_store_is_in_the_original_repository(tmp_path, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("copy"))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    here = Spool.here()
    assert here.store == f"sqlite:///{tmp_path}/mlflow.db"
    assert here.database == tmp_path / "mlflow.db"
    assert here.folder.parent == tmp_path / "mlflow.spool"


@pytest.mark.parametrize(
    ("uri", "store", "is_file"),
    [
        ("", "sqlite:///{root}/mlflow.db", True),
        ("sqlite:///runs/a.db", "sqlite:///{root}/runs/a.db", True),
        ("sqlite:////srv/a.db", "sqlite:////srv/a.db", True),
        ("http://host:5000", "http://host:5000", False),
    ],
)
def test_mlflow_tracking_uri_names_another_store(tmp_path, monkeypatch, uri, store, is_file):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    here = Spool.here()
    assert here.store == store.format(root=tmp_path)
    assert (here.database is not None) is is_file


def test_each_store_has_its_own_journals_whose_folder_tells_no_password(tmp_path):
    one = Spool(tmp_path, "http://me:x7@host")
    assert one.folder != Spool(tmp_path, "http://me:x8@host").folder
    assert "x7" not in str(one.folder)


def test_a_journal_holds_its_events_in_order(spool):
    journal = spool.new_journal()
    journal.write("start", name="prepare")
    journal.write("metrics", metrics={"a": float("inf")})
    events = list(journal.read())
    assert [(event["event"], event["time"] > 1.6e12) for event, _ in events] == [
        ("start", True),
        ("metrics", True),
    ]
    assert events[1][0]["metrics"] == {"a": float("inf")}
    assert list(journal.read(events[0][1])) == events[1:]
    assert [each.path for each in spool.journals()] == [journal.path]


def test_an_event_that_is_cut_short_is_none_yet(spool):
    journal = spool.new_journal()
    journal.write("start")
    with journal.path.open("a") as file:
        file.write('{"event": "me')
    assert [event["event"] for event, _ in journal.read()] == ["start"]


def test_an_event_that_a_full_disk_cut_short_is_left_out(spool):
    journal = spool.new_journal()
    journal.write("start")
    with journal.path.open("a") as file:
        file.write('{"event": "me')
    journal.write("lost with the one before")
    journal.write("end")
    assert [event["event"] for event, _ in journal.read()] == ["start", "end"]


def test_journals_are_ordered_by_time(spool):
    made = [spool.new_journal() for _ in range(3)]
    for journal in reversed(made):
        journal.write("start")
    assert [each.key for each in spool.journals()] == [each.key for each in made]


def test_a_journal_goes_on_while_its_process_lives(spool):
    alive = Process.of(psutil.Process())
    dead = Process(alive.host, alive.pid, alive.created - 60)
    for process, expected in ((alive, True), (dead, False)):
        journal = spool.new_journal()
        journal.write("start", process=str(process))
        assert journal.goes_on is expected


def test_a_journal_whose_process_died_before_its_first_word_ends_after_a_minute(spool):
    journal = spool.new_journal()
    journal.path.write_text('{"event"')
    assert journal.goes_on
    os.utime(journal.path, (time.time() - 61,) * 2)
    assert not journal.goes_on


def test_a_journal_is_removed_with_its_files(spool):
    journal = spool.new_journal()
    journal.write("start")
    (spool.root / "model").write_bytes(b"model")
    journal.keep(spool.root / "model", "model.keras")
    assert (journal.files / "model.keras").read_bytes() == b"model"
    journal.remove()
    assert list(spool.folder.iterdir()) == []


def test_a_journal_that_cannot_be_written_is_named(spool):
    journal = spool.new_journal()
    journal.path.mkdir()
    with pytest.raises(GraftError, match=r"\.jsonl, the run's journal, cannot be written: "):
        journal.write("start")


def test_a_folder_that_cannot_be_made_is_named(spool):
    (spool.root / "mlflow.spool").write_text("")
    with pytest.raises(GraftError, match="for the runs' journals, cannot be made: "):
        spool.new_journal()


def test_one_process_at_a_time_delivers(spool, monkeypatch):
    monkeypatch.setattr(spool_module, "_LOCK_SECONDS", 0.05)
    held = r"another process has held .*mlflow\.db\.lock for 0\.05 s; end that process"
    with spool.delivering(), pytest.raises(GraftError, match=held), spool.delivering():
        pass
    with spool.delivering():
        pass


def test_events_are_lines_that_anyone_can_read(spool):
    journal = spool.new_journal()
    journal.write("cell", cell={"repeat": "0"})
    event = json.loads(journal.path.read_text())
    assert (event["event"], event["cell"]) == ("cell", {"repeat": "0"})
