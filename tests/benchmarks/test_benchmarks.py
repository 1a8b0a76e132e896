"""Each benchmark runs, on small made-up data, and says what it measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SHARED = {"__init__", "measuring", "studies", "digits", "first_work", "load_images"}
BENCHMARKS = sorted({path.stem for path in (ROOT / "benchmarks").glob("*.py")} - SHARED)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_measures_graft_beside_what_one_would_write_instead(name, tmp_path):
    output = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--output", str(output)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().startswith(f"{name}: 1 repeat in alternation")
    found = json.loads(output.read_text())
    assert found["benchmark"] == name
    assert {"processor", "tensorflow", "load_of_5_minutes"} <= found["machine"].keys()
    for row in found["rows"]:
        mine, other, ratio = (row[arm]["median"] for arm in ("graft", "other", "ratio"))
        assert mine > 0
        assert other > 0
        assert ratio == pytest.approx(mine / other)
