import os
import pty
import subprocess
import sys

SCRIPT = """
from graft.core.progress import progress
with progress("working", 2) as advance:
    print("answer")
    advance(2)
"""


def test_nothing_is_written_where_there_is_no_terminal():
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"answer\n", b"")


def test_a_bar_on_the_terminal_leaves_standard_output_alone():
    terminal, errors = pty.openpty()
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "TERM": "xterm"},
        check=True,
    )
    os.close(errors)
    shown = os.read(terminal, 65536)
    os.close(terminal)
    assert result.stdout == b"answer\n"
    assert b"working" in shown
