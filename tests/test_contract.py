"""What dvc.yaml declares against what the code imports and reads, and which way imports run."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@cache
def tree(path):
    return ast.parse((ROOT / path).read_text())


def modules(folder):
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


def imported_names(path):
    """Return the dotted names that a module imports, also in functions and for types alone."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relative to itself"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_of(name):
    """Return the files that importing a dotted name of this project runs.

    An `__init__.py` counts where it imports something or is asked for what is no module; with
    a docstring alone there is nothing in it that a result could depend on.
    """
    parts = name.split(".")
    files = set()
    for length in range(1, len(parts) + 1):
        path = "/".join(parts[:length])
        if (ROOT / path).is_dir():
            if imported_names(f"{path}/__init__.py"):
                files.add(f"{path}/__init__.py")
        elif (ROOT / f"{path}.py").is_file():
            return files | {f"{path}.py"}
        else:
            return files | {"/".join([*parts[: length - 1], "__init__.py"])}
    return files


@cache
def closure(path):
    """Return every file of the project that importing `path` runs, itself included."""
    found, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            ours = [n for n in imported_names(file) if n.split(".")[0] in ("graft", "stages")]
            waiting += [other for name in ours for other in files_of(name)]
    return frozenset(found)


def declared_code(stage):
    """Return the declared deps of a stage that are code, and the files that they cover."""
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("graft", "stages"))]
    return {dep: set(modules(dep)) if (ROOT / dep).is_dir() else {dep} for dep in deps}


def is_docstring_alone(path):
    return all(isinstance(node, ast.Expr) for node in tree(path).body)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_code_that_it_imports(stage):
    needed = closure(f"stages/{stage}.py")
    covered = declared_code(stage)
    missing = needed.difference(*covered.values())
    # `prepare` checks every section of params.yaml, so it declares the package whole.
    whole = covered.pop("graft") if stage == "prepare" else set()
    missing -= whole
    superfluous = {file for files in covered.values() for file in files} - needed
    superfluous = {f for f in superfluous if not (ROOT / f).is_file() or not is_docstring_alone(f)}
    wrong = missing | superfluous
    assert not wrong, (
        f"deps of `{stage}` in dvc.yaml:\n"
        f"  missing: {', '.join(sorted(missing)) or 'none'}\n"
        f"  superfluous: {', '.join(sorted(superfluous)) or 'none'}"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_its_code_once(stage):
    deps = STAGES[stage]["deps"]
    twice = [d for d in deps for other in deps if d != other and d.startswith(f"{other}/")]
    assert not twice
    assert len(set(deps)) == len(deps)


def test_every_stage_has_its_script_and_every_script_its_stage():
    scripts = {Path(path).stem for path in modules("stages")} - {"__init__"}
    assert scripts == set(STAGES)
    for name, stage in STAGES.items():
        assert stage["cmd"].split(" ${")[0] == f"python -m stages.{name}"


def read_parameters(path):
    """Return the parameters that a stage reads, such as `methods.${item.method}`."""

    def dotted(node):
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute) and (start := dotted(node.value)):
            return f"{start}.{node.attr}"
        if isinstance(node, ast.Subscript) and (start := dotted(node.value)):
            return f"{start}.${{item.{ast.unparse(node.slice)}}}"
        return None

    inner = set()
    found = set()
    for node in ast.walk(tree(path)):  # from the outside in: the longest chain comes first
        if isinstance(node, ast.Attribute | ast.Subscript):
            inner.add(node.value)
            name = dotted(node)
            if node not in inner and name and name.startswith("given."):
                found.add(name.removeprefix("given."))
    return found


def within(parameter, declared):
    return parameter == declared or parameter.startswith(f"{declared}.")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage):
    read = read_parameters(f"stages/{stage}.py")
    declared = STAGES[stage]["params"]
    missing = {name for name in read if not any(within(name, one) for one in declared)}
    superfluous = {one for one in declared if not any(within(name, one) for name in read)}
    wrong = missing | superfluous
    assert not wrong, (
        f"params of `{stage}` in dvc.yaml:\n"
        f"  missing: {', '.join(sorted(missing)) or 'none'}\n"
        f"  superfluous: {', '.join(sorted(superfluous)) or 'none'}"
    )


def test_only_evaluate_declares_the_targets_test_split():
    test = "data/prepared/target/test"
    for name, stage in STAGES.items():
        covering = [
            dep for dep in stage["deps"] if within(test.replace("/", "."), dep.replace("/", "."))
        ]
        assert covering == ([test] if name == "evaluate" else [])


@pytest.mark.parametrize("path", modules("graft"))
def test_nothing_in_graft_imports_a_stage_or_a_test(path):
    assert not {n for n in imported_names(path) if n.split(".")[0] in ("stages", "tests")}


def test_only_recording_imports_mlflow_and_no_stage_imports_recording():
    importing = [
        path
        for path in [*modules("graft"), *modules("stages")]
        if any(name.split(".")[0] == "mlflow" for name in imported_names(path))
    ]
    assert {str(Path(path).parent) for path in importing} == {"graft/recording"}
    for stage in STAGES:
        assert not any(path.startswith("graft/recording") for path in closure(f"stages/{stage}.py"))


def test_importing_the_stages_imports_nothing_heavy():
    names = ", ".join(f"stages.{stage}" for stage in STAGES)
    heavy = "{'tensorflow', 'keras', 'mlflow', 'sklearn', 'matplotlib'}"
    script = f"import sys, {names}\nprint(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == ""


def test_the_library_runs_one_way():
    """Methods know of no stage, no method, no loop: arrows point to their base."""
    for folder in ("strategies", "penalties", "networks"):
        for path in modules(f"graft/{folder}"):
            beyond = {
                name.split(".")[1] for name in imported_names(path) if name.startswith("graft.")
            } - {folder, "errors", "head", "networks", "scores", "settings"}
            assert not beyond, f"{path} imports {beyond}"
