import gc
import subprocess
import sys

import pytest

from graft.core.imports import lean_imports


def test_scikit_learn_is_imported_without_pandas_which_can_be_imported_later():
    script = (
        "import sys\n"
        "from graft.core.imports import lean_imports\n"
        "with lean_imports():\n"
        "    import sklearn.metrics\n"
        "print(*sorted({'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)))\n"
        "import pandas, matplotlib.pyplot"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "sklearn"


def test_a_package_that_is_imported_already_stays():
    with lean_imports("json"):
        import json
    assert json is sys.modules["json"]


def test_what_seems_absent_does_so_no_longer_after_an_error(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with pytest.raises(ImportError), lean_imports("this"):
        import this  # noqa: F401
    assert "this" not in sys.modules
    assert gc.isenabled()
