import pytest

from graft.core.tracking.redaction import redacted, redacted_command


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "PASSWORD",
        "token",
        "hub.token",
        "api_key",
        "apikey",
        "api-key",
        "secret",
        "client_secret",
        "credentials",
        "aws_access_key_id",
        "private_key",
        "auth",
    ],
)
def test_a_name_that_speaks_of_secrets_hides_its_value(name):
    assert redacted({name: "x7"}) == {name: "***"}
    assert redacted({"a": {name: "x7", "b": 1}}) == {"a": {name: "***", "b": 1}}


@pytest.mark.parametrize("name", ["author", "tokenizer", "keyboard", "secretary", "key", "passes"])
def test_other_names_do_not(name):
    assert redacted({name: "x7"}) == {name: "x7"}


def test_everything_below_such_a_name_is_hidden():
    assert redacted({"credentials": {"user": "me", "key": "x7"}}) == {"credentials": "***"}


def test_a_secret_that_is_not_set_shows_as_that():
    assert redacted({"token": None}) == {"token": None}


def test_a_url_is_shown_without_its_user():
    given = {"url": "https://me:x7@host/path", "list": ["http://me@host", 3]}
    assert redacted(given) == {"url": "https://***@host/path", "list": ["http://***@host", 3]}


def test_a_command_is_shown_without_its_secrets():
    arguments = ["dvc", "exp", "run", "-S", "hub.token=x7", "-S", "seed=1", "https://me:x7@host"]
    assert redacted_command(arguments) == (
        "dvc exp run -S hub.token=*** -S seed=1 https://***@host"
    )
