"""`dvc repro` with nothing to do, against a pipeline of as many empty stages.

Both are git repositories with everything in DVC's cache. The outputs of graft's stages are
stand-ins of a few bytes: what there is to look at are the stages and the code that they declare.
An empty stage has one small file as its dependency and one as its output.
"""

import tempfile
from pathlib import Path

from benchmarks.measuring import Cost, Goal, alternating, cost_of, options, report, rows_of
from benchmarks.studies import DVC, copy_project


def main() -> None:
    """Measure and report."""
    given = options("noop", __doc__ or "", repeats=15)
    with tempfile.TemporaryDirectory() as name:
        graft, empty = Path(name) / "graft", Path(name) / "empty"
        copy_project(graft)
        count = stand_in(graft)
        write_empty(empty, count)
        for folder in (graft, empty):
            cost_of(DVC, "commit", "--force", cwd=folder)
            repro(folder)
        costs = alternating(lambda: repro(graft), lambda: repro(empty), given.repeats)
    # Neither holds more memory than this process itself, below which it cannot be told.
    rows = [row for row in rows_of(costs, wall=Goal(1.3)) if row.what != "memory"]
    report("noop", given, rows, other=f"{count} empty stages")


def repro(folder: Path) -> Cost:
    """Run `dvc repro`, and make sure that it had nothing to do."""
    before = (folder / "dvc.lock").read_bytes()
    cost = cost_of(DVC, "repro", cwd=folder)
    if (folder / "dvc.lock").read_bytes() != before:
        raise RuntimeError(f"{folder}: `dvc repro` had something to do")
    return cost


def stand_in(folder: Path) -> int:
    """Give every stage small outputs; return the number of stages."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        stages = [stage for stage in repo.index.stages if hasattr(stage, "cmd") and stage.cmd]
        paths = [Path(item.fs_path) for stage in stages for item in (*stage.deps, *stage.outs)]
    # The deepest first: what has something below it is a folder.
    for path in sorted(set(paths), key=lambda path: len(path.parts), reverse=True):
        if path.exists():
            continue
        file = path if path.suffix else path / "stand-in.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path.name)
    return len(stages)


def write_empty(folder: Path, count: int) -> None:
    """Write a pipeline of stages that do nothing."""
    folder.mkdir()
    cost_of("git", "init", "--quiet", cwd=folder)
    cost_of(DVC, "init", "--quiet", cwd=folder)
    lines = ["stages:"]
    for number in range(count):
        (folder / f"in{number}.txt").write_text(str(number))
        (folder / f"out{number}.txt").write_text(str(number))
        lines.append(f"  stage{number}:")
        lines.append('    cmd: "true"')
        lines.append(f"    deps: [in{number}.txt]")
        lines.append(f"    outs: [out{number}.txt]")
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
