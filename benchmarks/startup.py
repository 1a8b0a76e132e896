"""From the start of a stage to its first useful work, against the bare import of TensorFlow.

Useful work begins when the stage opens what it works on. `graft check` and `graft predict` on one
image run to their end.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import Cost, Goal, Row, alternating, cost_of, options, python, report
from benchmarks.studies import made_up_images, photo_study, write

STAGES: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "train_source": ("photos",),
    "scratch": (),
    "transfer": ("photos",),
    "finetune": ("photos", "full"),
    "evaluate": (),
}
IMPORT = """\
import json, os, time
import tensorflow
print(json.dumps({"wall": time.time() - float(os.environ["STARTED"]), \
"processor": time.process_time()}))
"""


def main() -> None:
    """Measure and report."""
    given = options("startup", __doc__ or "", repeats=2)
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        images = made_up_images(folder / "made-up.zip", 4)
        write(folder, photo_study(images.name, labels_per_class=(2,), steps=1), images)
        for stage in ("prepare",) if given.quick else STAGES:
            python("-m", f"stages.{stage}", *STAGES[stage], cwd=folder)
        for what, run in starts(folder).items():
            if given.quick and what not in {"prepare", "train_source", "graft check"}:
                continue
            costs = alternating(run, lambda: until("-c", IMPORT, cwd=folder), given.repeats)
            light = what in {"prepare", "graft check"}
            goals = (Goal(1, of="value"), None) if light else (Goal(1.15), Goal(1.15))
            for kind, goal in zip(("wall", "processor"), goals, strict=True):
                values = [[getattr(cost, kind) for cost in arm] for arm in costs]
                rows.append(Row(f"{what}, {kind}", "s", *values, goal))
    report("startup", given, rows, other="import tensorflow")


def starts(folder: Path) -> dict[str, Callable[[], Cost]]:
    """Return what is started, by name."""
    graft = Path(sys.executable).with_name("graft")
    photo = made_up_photo(folder)

    def stage(name: str) -> Callable[[], Cost]:
        module = ("-m", "benchmarks.first_work", f"stages.{name}", *STAGES[name])
        return lambda: until(*module, cwd=folder)

    return {
        **{name: stage(name) for name in STAGES},
        "graft check": lambda: cost_of(graft, "check", cwd=folder),
        "graft predict": lambda: cost_of(graft, "predict", photo, cwd=folder),
    }


def until(*arguments: str, cwd: Path) -> Cost:
    """Run Python up to the moment that it reports; return what it took to get there."""
    cost = python(*arguments, cwd=cwd, env={"STARTED": str(time.time())})
    return Cost(cost.said["wall"], cost.said["processor"], cost.memory)


def made_up_photo(folder: Path) -> Path:
    """Write one small image."""
    from PIL import Image

    path = folder / "photo.png"
    Image.new("RGB", (32, 32), "green").save(path)
    return path


if __name__ == "__main__":
    main()
