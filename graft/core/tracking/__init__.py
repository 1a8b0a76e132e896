"""What a stage tells of its run."""

from graft.core.tracking.stage_run import Run, run

__all__ = ["Run", "run"]
