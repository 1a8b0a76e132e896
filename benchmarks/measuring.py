"""What the benchmarks share: the cost of a command, arms in alternation, the table, the JSON."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("tensorflow", "keras", "numpy", "mlflow", "dvc", "pillow", "scikit-learn")

_SAMPLES_PER_SECOND = 10
_PATIENCE = 60
_MIB = 1 << 20


@dataclass(frozen=True)
class Cost:
    """What a command took, the processes that it started included.

    Attributes
    ----------
    wall, processor
        Seconds.
    memory
        MiB: the most that its processes held at one time. What several of them share counts
        once for each.
    said
        The JSON in the last line of its output, where it is JSON.
    largest
        MiB: the most that one process alone held.
    """

    wall: float
    processor: float
    memory: float
    said: Any = None
    largest: float = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of one after the other."""
        memory = max(self.memory, other.memory)
        return Cost(
            self.wall + other.wall,
            self.processor + other.processor,
            memory,
            other.said,
            max(self.largest, other.largest),
        )


def cost_of(
    *command: str | Path, cwd: Path, env: dict[str, str] | None = None, status: int = 0
) -> Cost:
    """Run a command to its end, with this project's programs and modules at hand.

    Raises
    ------
    RuntimeError
        When it ends with another status; the message has the end of what it wrote.
    """
    programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    ours = {"PATH": programs, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    environment = {**os.environ, **ours, **(env or {})}
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 (the benchmark's own command)
            list(map(str, command)), cwd=cwd, env=environment, stdout=output, stderr=output
        )
        watch = _Watch(process.pid)
        _, ended, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(ended)
        largest = usage.ru_maxrss / 1024
        watched, left_behind = watch.stop()
        peak = max(watched, largest)
        processor = usage.ru_utime + usage.ru_stime + left_behind
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode != status:
        said = "\n".join(lines[-30:])
        raise RuntimeError(
            f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said}"
        )
    return Cost(wall, processor, peak, _parsed(lines[-1:]), largest)


def python(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Cost:
    """Run Python with these arguments as `cost_of` does."""
    return cost_of(sys.executable, *arguments, cwd=cwd, env=env)


class _Watch:
    """Looks at a process and its descendants, ten times a second.

    Those that outlive it, such as a recorder, are waited for, so that they are in nobody's way.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._seen = {pid: self._process}
        self._peak = 0.0
        self._left_behind: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """Return the peak in MiB, and seconds of processor time of those that nobody waited for."""
        self._ended.set()
        self._thread.join()
        patience = time.monotonic() + _PATIENCE
        while self._look() and time.monotonic() < patience:
            time.sleep(1 / _SAMPLES_PER_SECOND)
        return self._peak, sum(self._left_behind.values())

    def _run(self) -> None:
        while not self._ended.wait(1 / _SAMPLES_PER_SECOND):
            self._look()

    def _look(self) -> bool:
        """Note what each holds now; return whether one of them still runs."""
        held, running = 0, False
        with suppress(psutil.NoSuchProcess):
            for child in self._process.children(recursive=True):
                self._seen.setdefault(child.pid, child)
        for pid, process in self._seen.items():
            try:
                parent = self._seen.get(process.ppid())
                # Until it starts a program of its own, a child is its parent, page for page.
                if parent and parent.is_running() and parent.cmdline() == process.cmdline():
                    continue
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                held += process.memory_info().rss
                running = True
                if parent is None and process.ppid() != os.getpid():
                    times = process.cpu_times()
                    self._left_behind[pid] = times.user + times.system
            except psutil.NoSuchProcess:  # it ended between two looks
                continue
        self._peak = max(self._peak, held / _MIB)
        return running


@dataclass(frozen=True)
class Goal:
    """The figure to reach: of graft's value over the other's, or of graft's value itself."""

    limit: float
    of: Literal["ratio", "value"] = "ratio"
    at_least: bool = False

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        return f"{bound} {self.limit:g}{' x' if self.of == 'ratio' else ''}"

    def reached(self, value: float) -> bool:
        """Whether the median is within it."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One quantity, measured for graft and for the other in turn: pairs, one a repeat."""

    what: str
    unit: str
    graft: Sequence[float]
    other: Sequence[float]
    goal: Goal | None = None

    @property
    def ratios(self) -> list[float]:
        """Graft's value over the other's, repeat by repeat."""
        return [mine / theirs for mine, theirs in zip(self.graft, self.other, strict=True)]

    def summary(self) -> dict[str, Any]:
        """Return the row for the JSON file."""
        found: dict[str, Any] = {"what": self.what, "unit": self.unit}
        for name, values in (("graft", self.graft), ("other", self.other), ("ratio", self.ratios)):
            low, high = min(values), max(values)
            median = statistics.median(values)
            found[name] = {"median": median, "low": low, "high": high, "each": list(values)}
        if self.goal is not None:
            value = found["ratio" if self.goal.of == "ratio" else "graft"]["median"]
            found |= {"goal": str(self.goal), "reached": self.goal.reached(value)}
        return found


def alternating(
    graft: Callable[[], Cost], other: Callable[[], Cost], repeats: int
) -> tuple[list[Cost], list[Cost]]:
    """Run both in turn, so that whatever else the machine does falls on both."""
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    for _ in range(repeats):
        costs[1].append(other())
        costs[0].append(graft())
    return costs


def rows_of(costs: tuple[list[Cost], list[Cost]], **goals: Goal) -> list[Row]:
    """Return the rows for wall time, processor time and memory."""
    units = {"wall": "s", "processor": "s", "memory": "MiB"}
    return [
        Row(
            what,
            unit,
            [getattr(cost, what) for cost in costs[0]],
            [getattr(cost, what) for cost in costs[1]],
            goals.get(what),
        )
        for what, unit in units.items()
    ]


@dataclass(frozen=True)
class Options:
    """What every benchmark is told on its command line."""

    quick: bool
    repeats: int
    images: Path | None
    output: Path | None

    def needed_images(self) -> Path:
        """Return the user's zip of CIFAR-10, or say how to come by one."""
        if self.images is None:
            sys.exit(
                "This benchmark measures on the 60,000 CIFAR-10 images as a zip of image files, "
                "ANY/train/CLASS/FILE and ANY/test/CLASS/FILE: pass --images ZIP or set "
                "GRAFT_BENCHMARK_IMAGES. --quick runs on made-up images instead."
            )
        return self.images


def options(name: str, doc: str, *, repeats: int) -> Options:
    """Read the command line of `python -m benchmarks.NAME`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    parser.add_argument("--quick", action="store_true", help="small made-up data, one repeat")
    parser.add_argument("--repeats", type=int, help=f"how often each arm runs ({repeats})")
    parser.add_argument("--images", type=Path, help="zip of CIFAR-10's images, where one is needed")
    parser.add_argument("--output", type=Path, help="where to write the JSON instead")
    given = parser.parse_args()
    images = given.images or os.environ.get("GRAFT_BENCHMARK_IMAGES")
    output = given.output or (None if given.quick else RESULTS / f"{name}.json")
    return Options(
        quick=given.quick,
        repeats=given.repeats or (1 if given.quick else repeats),
        images=Path(images).resolve() if images else None,
        output=output,
    )


def report(
    name: str, given: Options, rows: Sequence[Row], *, other: str, notes: Sequence[str] = ()
) -> None:
    """Print one table and write one JSON file.

    Parameters
    ----------
    other
        What graft is measured against.
    notes
        Lines to print below the table, such as the accuracy that both reached.
    """
    count = len(rows[0].graft)
    repeats = f"{count} repeat{'' if count == 1 else 's'}"
    table = Table(title=f"{name}: {repeats} in alternation, median (low to high)")
    for column in ("", other, "graft", "ratio", "to reach", ""):
        table.add_column(column, justify="left" if column == "" else "right")
    for row in rows:
        found = row.summary()
        cells = [_spread(found["other"], row.unit), _spread(found["graft"], row.unit)]
        met = {True: "reached", False: "missed", None: ""}[found.get("reached")]
        goal = str(row.goal or "")
        table.add_row(row.what, *cells, _spread(found["ratio"], "x"), goal, met)
    console = Console(highlight=False, width=120)
    console.print(table)
    for note in notes:
        console.print(note)
    if given.output is not None:
        found = {
            "benchmark": name,
            "against": other,
            "command": " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]]),
            "repeats": len(rows[0].graft),
            "quick": given.quick,
            "rows": [row.summary() for row in rows],
            "notes": list(notes),
            "machine": machine(),
        }
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return what a figure depends on."""
    return {
        "processor": _processor_name(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "load_of_5_minutes": round(os.getloadavg()[1], 2),
        "system": f"{platform.system()}, {' '.join(platform.libc_ver())}, {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _spread(found: dict[str, Any], unit: str) -> str:
    median, low, high = (_number(found[key]) for key in ("median", "low", "high"))
    return f"{median} {unit}" if low == high else f"{median} ({low} to {high}) {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _parsed(lines: list[str]) -> Any:
    try:
        return json.loads(lines[0])
    except (IndexError, ValueError):
        return None
