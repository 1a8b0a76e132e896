"""What dvc.yaml declares against what the code imports and reads, and which way imports run."""

import ast
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import yaml
from dvc.dependency import ParamsDependency
from dvc.repo import Repo

from graft.params import Params

ROOT = Path(__file__).parent.parent


@dataclass
class Stage:
    """What dvc.yaml declares for a stage, as DVC resolves it for all items of its matrix."""

    names: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    deps: set[str] = field(default_factory=set)
    params: set[str] = field(default_factory=set)
    outs: list[str] = field(default_factory=list)


def stages_of(folder):
    """Return the stages by name, read by DVC itself."""
    found = {}
    with Repo(folder) as repo:
        for resolved in repo.index.stages:
            stage = found.setdefault(resolved.name.split("@")[0], Stage())
            stage.names.append(resolved.name)
            stage.commands.append(resolved.cmd)
            stage.outs += [out.def_path for out in resolved.outs]
            for dep in resolved.deps:
                if isinstance(dep, ParamsDependency):
                    assert dep.def_path == "params.yaml"
                    stage.params |= set(dep.params)
                else:
                    stage.deps.add(dep.def_path)
    return found


STAGES = stages_of(ROOT)


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
    deps = [dep for dep in STAGES[stage].deps if dep.startswith(("graft", "stages"))]
    return {dep: set(modules(dep)) if (ROOT / dep).is_dir() else {dep} for dep in deps}


def is_docstring_alone(path):
    return all(isinstance(node, ast.Expr) for node in tree(path).body)


def superfluous_of(files, needed):
    """Return what a declared dep has that is not needed; a folder may have a file more."""
    extra = {f for f in files - needed if not (ROOT / f).is_file() or not is_docstring_alone(f)}
    return extra if len(extra) > (len(files) > 1) else set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_code_that_it_imports(stage):
    needed = closure(f"stages/{stage}.py")
    covered = declared_code(stage)
    missing = needed.difference(*covered.values())
    # `check` knows every section of params.yaml, so it declares the package whole.
    whole = covered.pop("graft") if stage == "check" else set()
    missing -= whole
    superfluous = {f for files in covered.values() for f in superfluous_of(files, needed)}
    wrong = missing | superfluous
    assert not wrong, (
        f"deps of `{stage}` in dvc.yaml:\n"
        f"  missing: {', '.join(sorted(missing)) or 'none'}\n"
        f"  superfluous: {', '.join(sorted(superfluous)) or 'none'}"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_its_code_once(stage):
    deps = STAGES[stage].deps
    assert not [d for d in deps for other in deps if d.startswith(f"{other}/")]


def test_every_stage_has_its_script_and_every_script_its_stage():
    scripts = {Path(path).stem for path in modules("stages")} - {"__init__"}
    assert scripts == set(STAGES)
    for name, stage in STAGES.items():
        for resolved, command in zip(stage.names, stage.commands, strict=True):
            item = resolved.removeprefix(name).removeprefix("@").replace("-", " ")
            assert command == f"python -m stages.{name} {item}".strip()


def read_parameters(path):
    """Return the parameters that a stage reads, such as `methods.*`."""

    def dotted(node):
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute) and (start := dotted(node.value)):
            return f"{start}.{node.attr}"
        if isinstance(node, ast.Subscript) and (start := dotted(node.value)):
            return f"{start}.*"
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


def declared_parameters(stage):
    """Return what a stage declares, with a star for the names that a study gives."""
    return {
        f"{section}.*" if section in ("methods", "sources") and name else declared
        for declared in STAGES[stage].params
        for section, _, name in [declared.partition(".")]
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage):
    read = read_parameters(f"stages/{stage}.py")
    declared = declared_parameters(stage)
    missing = {name for name in read if not any(within(name, one) for one in declared)}
    superfluous = {one for one in declared if not any(within(name, one) for name in read)}
    wrong = missing | superfluous
    assert not wrong, (
        f"params of `{stage}` in dvc.yaml:\n"
        f"  missing: {', '.join(sorted(missing)) or 'none'}\n"
        f"  superfluous: {', '.join(sorted(superfluous)) or 'none'}"
    )


def leaves(schema, definitions, name=""):
    """Yield every parameter that a schema knows, with a star for the names that a study gives."""
    schema = definitions[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema
    inner = [(name, one) for one in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]]
    inner += [(f"{name}.*", one) for one in schema.get("patternProperties", {}).values()]
    inner += [(f"{name}.{key}", one) for key, one in schema.get("properties", {}).items()]
    if not inner:
        yield name.lstrip(".")
    for place, one in inner:
        yield from leaves(one, definitions, place)


def test_every_declared_parameter_is_in_the_schema_and_all_of_the_schema_is_declared():
    schema = Params.model_json_schema()
    known = set(leaves(schema, schema["$defs"]))
    assert {"seed", "methods.*.penalty.strength", "finetune.training.steps"} <= known
    declared = set().union(*map(declared_parameters, STAGES))
    unknown = {one for one in declared if not any(within(leaf, one) for leaf in known)}
    unused = {leaf for leaf in known if not any(within(leaf, one) for one in declared)}
    # How runs are recorded is no stage's: no result depends on it.
    assert (unknown, unused) == (set(), {"tracking.unreachable"})


@pytest.mark.parametrize("declared", sorted(set().union(*map(declared_parameters, STAGES))))
def test_a_declared_parameter_has_no_default(declared):
    """Or DVC itself stops, at that stage and not at `check`, when params.yaml leaves it out."""
    section = Params
    for name in declared.removesuffix(".*").split("."):
        assert section.model_fields[name].is_required()
        section = section.model_fields[name].annotation


def test_everything_waits_for_the_check_of_the_whole_of_params_yaml():
    assert "params.yaml" in STAGES["check"].deps
    first = [name for name, stage in STAGES.items() if not depends_on_another(stage)]
    assert first == ["check"]


def depends_on_another(stage):
    outs = [out for other in STAGES.values() if other is not stage for out in other.outs]
    return any(dep == out or dep.startswith(f"{out}/") for dep in stage.deps for out in outs)


def test_the_names_that_dvc_makes_of_sources_and_methods_do_not_collide(tmp_path):
    Repo.init(tmp_path, no_scm=True).close()
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    sources, methods = ["a", "A", "a_b", "b"], ["b_c", "c", "C", "a_b_c"]
    params["source"]["candidates"], params["finetune"]["methods"] = sources, methods
    params["methods"] = dict.fromkeys(methods, params["methods"]["probe"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    stages = stages_of(tmp_path)
    pairs = [f"{source} {method}" for source in sources for method in methods]
    commands = {f"python -m stages.finetune {pair}" for pair in pairs}
    assert set(stages["finetune"].commands) == commands
    for stage in stages.values():
        assert len(set(stage.names)) == len(stage.names)
        assert len(set(stage.outs)) == len(stage.outs)


def test_only_evaluate_declares_the_targets_test_split():
    test = "data/prepared/target/test"
    for name, stage in STAGES.items():
        covering = [
            dep for dep in stage.deps if within(test.replace("/", "."), dep.replace("/", "."))
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
            } - {folder, "core", "fitting", "networks"}
            assert not beyond, f"{path} imports {beyond}"
