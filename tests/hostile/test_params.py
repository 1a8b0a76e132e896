"""A params.yaml that was edited badly: right, or answered with one message and its lines."""

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from graft import params
from graft.cli import main
from graft.core.errors import GraftError

ROOT = Path(__file__).parent.parent.parent
STUDIES = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]

# One fault a line, each with its line in the file.
MESSAGE = re.compile(r"(params\.yaml:\d+: .+\n?)+")

# 2,000 files in all.
EXAMPLES = -(-20 // (2 * len(STUDIES))) * settings.default.max_examples


def read(path, text):
    """Read `text` as a params.yaml; answer its faults as the command line does."""
    path.write_bytes(text)
    try:
        params.load(path)
    except GraftError as error:
        message = str(error).replace(str(path), "params.yaml")
        assert MESSAGE.fullmatch(message), message
        lines = len(text.splitlines()) + 1
        for line in re.findall(r"^params\.yaml:(\d+): ", message, re.MULTILINE):
            assert 1 <= int(line) <= lines


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "params.yaml"


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.stem)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_whatever_values_stand_there_they_are_right_or_named(path, mutate, data, study):
    tree = mutate(data, yaml.safe_load(study.read_text(encoding="utf-8")))
    read(
        path, yaml.dump(tree, Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False).encode()
    )


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.stem)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_whatever_text_stands_there_it_is_right_or_named(path, corrupt, data, study):
    read(path, corrupt(data, study.read_bytes()))


HOSTILE = {
    "another encoding": ("# für\nseed: 0\n".encode("latin-1"), "1: cannot be read as UTF-8 text"),
    "a long integer": (b"seed: " + b"9" * 5000, "1: found an integer of too many digits"),
    "deep": (b"seed:\n  " + b"[" * 5000, "2: is nested too deeply"),
    "a Python object": (b"seed: !!python/object/apply:os.abort []", "1: could not determine a"),
    "nothing": (b"", "1: received NoneType"),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)
def test_the_command_line_answers_with_one_message_and_status_2(path, text, message):
    path.write_bytes(text)
    result = CliRunner().invoke(main, ["check", "--params", str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"graft: {path}:{message}")
    assert result.stderr.count("\n") == 1
