"""What the result of a stage depends on, hashed the way DVC hashes it.

DVC writes the same command, parameters and hashes into dvc.lock once a stage has run. So the
fingerprint of a stage that is about to run and that of its entry in dvc.lock are equal if the
one came of the other. `import dvc` would take longer than all the hashing.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.core.errors import GraftError
from graft.core.yaml_file import parse

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

PIPELINE = Path("dvc.yaml")
PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")
_IGNORED = Path(".dvcignore")
_new_md5 = partial(hashlib.md5, usedforsecurity=False)


@dataclass(frozen=True)
class Fingerprint:
    """What the result of one stage depends on.

    Attributes
    ----------
    command
        As dvc.yaml has it, such as ``python -m stages.finetune printed_digits probe``.
    params
        The declared parameters and their values, by dotted name.
    deps
        The MD5 of every dependency, code and data, as dvc.lock has it; that of a folder ends
        in ``.dir``.
    """

    command: str
    params: Mapping[str, Any]
    deps: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all of it, in hexadecimal."""
        content = {"command": self.command, "params": self.params, "deps": self.deps}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def data(self) -> list[str]:
        """The dependencies that are no Python code."""
        return [
            p for p in self.deps if not p.endswith(".py") and not (Path(p) / "__init__.py").exists()
        ]


def fingerprint(stage: str, **item: str) -> Fingerprint:
    """Return the fingerprint of a stage as the working directory has it now.

    All of it is hashed anew, because dvc.lock says what the dependencies were when DVC last
    looked, which under `dvc repro --single-item` or by hand need not be what the stage reads.

    Parameters
    ----------
    stage
        Its name in dvc.yaml.
    item
        What its matrix item says, such as ``source="printed_digits"``.

    Raises
    ------
    GraftError
        When dvc.yaml has no such stage, or something that the stage declares is missing.
    """
    stages = _mapping(PIPELINE).get("stages", {})
    if stage not in stages:
        raise GraftError(f"{PIPELINE} has no stage {stage!r}; it has: {', '.join(stages)}")
    declared = _filled_in(stages[stage], item)
    params = _mapping(PARAMS)
    ignored = _ignored()
    return Fingerprint(
        declared["cmd"],
        {name: _parameter(params, name) for name in declared.get("params", [])},
        {path: _md5(Path(path), ignored) for path in declared.get("deps", [])},
    )


@dataclass(frozen=True)
class Locked:
    """A stage as dvc.lock has it.

    Attributes
    ----------
    fingerprint
        What its results were made of.
    item
        Its matrix item, such as ``{"source": "printed_digits"}``.
    outs
        The MD5 of each of its outputs.
    """

    fingerprint: Fingerprint
    item: Mapping[str, str]
    outs: Mapping[str, str]


def locked() -> dict[str, Locked]:
    """Return every stage in dvc.lock by its name there; none without a file.

    A name has the form ``stage`` or ``stage@SOURCE-METHOD``.
    """
    if not LOCK.exists():
        return {}
    stages = _mapping(PIPELINE).get("stages", {})
    found = {}
    for name, entry in _mapping(LOCK).get("stages", {}).items():
        made = Fingerprint(
            entry["cmd"],
            entry.get("params", {}).get(str(PARAMS), {}),
            {dep["path"]: dep["md5"] for dep in entry.get("deps", [])},
        )
        stage, _, item = name.partition("@")
        keys = stages.get(stage, {}).get("matrix", ())
        # A name without a hyphen is what makes this unambiguous: graft.core.settings.Identifier.
        values = dict(zip(keys, item.split("-"), strict=False))
        outs = {out["path"]: out["md5"] for out in entry.get("outs", [])}
        found[name] = Locked(made, values, outs)
    return found


def outputs() -> list[str]:
    """Return what the pipeline writes, dvc.lock included; folders in place of matrix items."""
    paths = {str(LOCK)}
    for stage in _mapping(PIPELINE).get("stages", {}).values() if PIPELINE.exists() else ():
        for entry in (*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])):
            path = next(iter(entry)) if isinstance(entry, dict) else entry
            paths.add(path.partition("${")[0].rstrip("/"))
    return sorted(paths)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        value, _ = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise GraftError(f"{path} cannot be read: {error}; run in a graft project") from None
    if not isinstance(value, dict):
        raise GraftError(f"{path}: received {type(value).__name__}; expected a mapping")
    return value


def _filled_in(value: Any, item: Mapping[str, str]) -> Any:
    """Return a part of dvc.yaml with ``${item.NAME}`` replaced."""
    if isinstance(value, dict):
        return {key: _filled_in(part, item) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled_in(part, item) for part in value]
    if isinstance(value, str):
        for name, text in item.items():
            value = value.replace(f"${{item.{name}}}", text)
    return value


def _parameter(params: Any, name: str) -> Any:
    value = params
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            raise GraftError(f"{PARAMS} has no {name!r}, which {PIPELINE} declares; add it")
        value = value[key]
    return value


def _ignored() -> "GitIgnoreSpec":
    """Return what .dvcignore leaves out, such as compiled Python."""
    from pathspec import GitIgnoreSpec

    lines = _IGNORED.read_text(encoding="utf-8").splitlines() if _IGNORED.exists() else []
    return GitIgnoreSpec.from_lines([".git/", ".dvc/", *lines])


def _md5(path: Path, ignored: "GitIgnoreSpec") -> str:
    try:
        if not path.is_dir():
            return md5_of_file(path)
        entries = [
            {"md5": md5_of_file(file), "relpath": file.relative_to(path).as_posix()}
            for file in _files(path, ignored)
        ]
    except OSError as error:
        raise GraftError(
            f"{path}, which {PIPELINE} declares, cannot be read: {error}; `dvc repro` makes "
            "what a stage writes"
        ) from None
    entries.sort(key=lambda entry: entry["relpath"])
    content = json.dumps(entries, sort_keys=True).encode()
    return f"{hashlib.file_digest(io.BytesIO(content), _new_md5).hexdigest()}.dir"


def md5_of_file(path: Path) -> str:
    """Return the MD5 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _new_md5).hexdigest()


def _files(folder: Path, ignored: "GitIgnoreSpec") -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        here = Path(root)
        folders[:] = [f for f in folders if not ignored.match_file(f"{(here / f).as_posix()}/")]
        yield from (here / n for n in names if not ignored.match_file((here / n).as_posix()))
