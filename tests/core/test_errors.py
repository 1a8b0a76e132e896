import pytest

from graft.core.errors import GraftError, reported


def test_a_fault_is_printed_without_a_traceback_and_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as caught, reported():
        raise GraftError("params.yaml:3: seed: received zero")
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "graft: params.yaml:3: seed: received zero\n")


def test_a_bug_keeps_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError), reported():
        1 / 0  # noqa: B018
    assert capsys.readouterr() == ("", "")


def test_success_says_nothing(capsys):
    with reported():
        pass
    assert capsys.readouterr() == ("", "")
