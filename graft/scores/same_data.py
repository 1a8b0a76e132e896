"""Whether a gain is that of transfer, or of longer training on the same data."""

from collections.abc import Mapping
from typing import Any

from graft.scores.comparison import Comparison
from graft.scores.verdict import Verdict

_CLAIMS: dict[Verdict, str] = {
    "helped": "transfer gained something over longer training on the same data",
    "hurt": "nothing was gained over longer training on the same data",
    "equivalent": "nothing was gained over longer training on the same data",
    "inconclusive": "these numbers do not show that anything was gained over longer training on "
    "the same data",
}


def same_data(
    comparison: Comparison,
    source: Mapping[str, Any],
    *,
    finetuning_steps: int,
    control_steps: int,
    every_label: bool,
) -> str | None:
    """Return what the control makes of the answer, or None where there is nothing to add.

    Where every training example of the source is labelled for the target too, transfer knows
    nothing that the control could not learn: the fair control then takes as many steps as source
    and fine-tuning together.

    Parameters
    ----------
    source
        The metrics of the source's training.
    finetuning_steps, control_steps
        In each cell; 0 for a method without gradient descent.
    every_label
        Whether the comparison is at the largest budget, of whose labels `source` speaks.
    """
    examples, shared = source["train_examples"], source["train_shared_with_target"]
    together = source["steps"] + finetuning_steps
    if not every_label or shared < examples:
        if finetuning_steps in (0, control_steps):
            return None
        return (
            f"Scratch trained for {control_steps:,} steps, "
            f"`{comparison.method}` for {finetuning_steps:,}."
        )
    same = f"Source and target train on the same {examples:,} examples"
    if control_steps < together:
        return (
            f"{same}, for {together:,} steps together; scratch trained for {control_steps:,}: "
            "a gain may be that of longer training alone. Set scratch.steps to "
            f"{together} to find out."
        )
    return (
        f"{same}, for {together:,} steps together; scratch trained on them for "
        f"{control_steps:,}: {_CLAIMS[comparison.verdict]}."
    )
