import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from graft import __version__
from graft.cli import main

PARAMS = """\
seed: 0
sources:
  digits:
    dataset: {name: handwritten-digits}
    classes: [0, 1, 2]
  spare:
    dataset: {name: handwritten-digits}
source:
  candidates: [digits]
target:
  dataset: {name: images, path: birds, image_size: 8}
  labels_per_class: [1, all]
  repeats: 3
network: {name: small_cnn}
train_source: {steps: 10, learning_rate: 0.001}
methods:
  full: {strategy: {name: full}}
  probe: {strategy: {name: probe}}
  spare: {strategy: {name: full}}
finetune:
  methods: [full, probe]
  folds: 5
  training: {steps: 10, learning_rate: 0.001}
scratch: {}
transfer: {}
evaluate: {}
compute: {}
"""

OVERVIEW = """\
params.yaml is right, and the data are in place.

sources.digits    handwritten-digits, 3 classes: 0, 1, 2
target            images, all classes
labels per class  1, all, each drawn 3 times
network           small_cnn
methods           full, probe, and scratch as the control
cells to train    18 = (1 source x 2 methods + the control) x 2 budgets x 3 repeats
not in use        sources.spare, methods.spare
"""

UNWANTED = ("tensorflow", "keras", "mlflow", "sklearn", "scipy", "rich", "PIL")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and the target's images, of which check reads the names alone."""
    for name in ("owl", "wren"):
        image = tmp_path / "data/raw/birds" / name / "1.png"
        image.parent.mkdir(parents=True)
        image.touch()
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


def edit(project: Path, old: str, new: str) -> None:
    assert old in PARAMS
    (project / "params.yaml").write_text(PARAMS.replace(old, new))


def test_a_right_study_is_summed_up(project):
    result = check()
    assert (result.exit_code, result.output) == (0, OVERVIEW)


def test_how_hard_each_arm_is_tuned_is_said(project):
    text = PARAMS.replace(
        "full: {strategy: {name: full}}\n  probe",
        """full:
    strategy: {name: full}
    grid: {learning_rate: [0.001, 0.01], wise_ft: [0.5, 1]}
  probe""",
    )
    text = text.replace("{name: probe}}", "{name: probe}, grid: {c: [0.1, 1, 10, 100]}}")
    text = text.replace(
        "scratch: {}", "scratch: {grid: {learning_rate: [0.001, 0.003, 0.01, 0.1]}}"
    )
    (project / "params.yaml").write_text(text)
    line = "tuning            4 combinations for each arm, in up to 5 folds of each cell\n"
    assert line in check().output


def test_files_can_be_elsewhere(project):
    (project / "params.yaml").rename("study.yaml")
    (project / "data/raw").rename("raw")
    result = check("--params", "study.yaml", "--raw", "raw")
    assert result.exit_code == 0
    assert result.output.startswith("study.yaml is right")


def test_many_classes_are_cut_short(project):
    edit(project, "classes: [0, 1, 2]\n  spare", "classes: all\n  spare")
    for number in range(12):
        (project / f"data/raw/birds/{number:02}").mkdir()
        (project / f"data/raw/birds/{number:02}/1.png").touch()
    names = ", ".join(f"'{number:02}'" for number in range(12))
    text = PARAMS.replace("image_size: 8}", f"image_size: 8}}\n  classes: [{names}]")
    (project / "params.yaml").write_text(text)
    line = "images, 12 classes: 00, 01, 02, 03, 04, 05, 06, 07, 08, 09, ...\n"
    assert line in check().output


def test_the_faults_of_all_tasks_are_named_together(project):
    (project / "data/raw/birds").rename("birds")
    edit(project, "[0, 1, 2]", "[0, 11]")
    result = check()
    assert result.exit_code == 2
    source, target = result.stderr.splitlines()
    assert source.startswith("graft: sources.digits: classes: no class '11' here; expected one of")
    assert target.startswith("target: data/raw/birds is missing; put it there")


def test_a_source_that_is_not_in_use_is_left_alone(project):
    edit(
        project,
        "  spare:\n    dataset: {name: handwritten-digits}",
        "  spare:\n    dataset: {name: images, path: none, image_size: 8}",
    )
    assert check().exit_code == 0


def test_the_faults_of_params_are_named_together_with_their_lines(project):
    edit(project, "seed: 0", "seed: -1\nsed: 0")
    result = check()
    assert result.exit_code == 2
    assert "params.yaml:2: unknown key 'sed'" in result.stderr


def test_missing_params(project):
    result = check("--params", "none.yaml")
    assert result.exit_code == 2
    assert result.stderr == (
        "graft: none.yaml is missing; run in a graft project, or name the file\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--params", "data"), "'data' is a directory"), (("--raw", "params.yaml"), "is a file")],
)
def test_a_folder_is_no_file(project, arguments, message):
    result = check(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_nothing_heavy_is_imported(project):
    code = (
        "import sys\n"
        "from graft.cli import main\n"
        "main(['check'], standalone_mode=False)\n"
        f"print([name for name in {UNWANTED} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == OVERVIEW + "[]\n"
    assert done.stderr == ""


def test_version():
    assert CliRunner().invoke(main, ["--version"]).output == f"graft {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["check"], ["predict"]])
def test_help_has_an_example(arguments):
    result = CliRunner().invoke(main, [*arguments, "--help"])
    assert result.exit_code == 0
    assert "Example: graft " in result.output


def test_a_bug_keeps_its_traceback(project, monkeypatch):
    def broken(path: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("graft.params.load", broken)
    assert isinstance(check().exception, ZeroDivisionError)
