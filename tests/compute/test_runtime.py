import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_tensorflow_starts_silent_and_deterministic():
    done = python(
        "from graft.compute.runtime import start_tensorflow; start_tensorflow()\n"
        "from tensorflow.python.framework import config\n"
        "print(config.is_op_determinism_enabled())"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_what_was_held_back_is_shown_when_the_start_fails():
    done = python(
        "import os, sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'tensorflow':\n"
        "            os.write(2, b'a native notice\\n')\n"
        "            raise ImportError('broken')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from graft.compute.runtime import start_tensorflow; start_tensorflow()"
    )
    assert done.returncode == 1
    assert "a native notice" in done.stderr
    assert "ImportError: broken" in done.stderr


def test_tensorflow_starts_without_the_packages_that_keras_wraps_and_they_import_afterwards():
    done = python(
        "import scipy, sys\n"
        "from graft.compute.runtime import start_tensorflow; start_tensorflow()\n"
        "print(*sorted({'scipy', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
        "import sklearn.linear_model, pandas, matplotlib.pyplot"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "scipy\n", "")


def test_the_garbage_collector_works_on_and_leaves_out_what_was_imported():
    done = python(
        "import gc\n"
        "from graft.compute.runtime import start_tensorflow; start_tensorflow()\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")
