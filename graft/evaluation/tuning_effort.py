"""Whether all arms were tuned equally hard."""

from collections.abc import Mapping, Sequence

from graft.core.errors import GraftError
from graft.evaluation.arms import Arm


def unequal(sizes: Mapping[str, int]) -> str | None:
    """Return what is wrong where the arms' grids have not all the same size, else None.

    Parameters
    ----------
    sizes
        Number of combinations by the name of the arm; 0 without a grid.
    """
    if len(set(sizes.values())) == 1:
        return None
    listed = ", ".join(f"{arm} {size or 'none'}" for arm, size in sizes.items())
    return (
        f"grids of unequal size ({listed}); give each arm in use, the control included, a grid "
        "with the same number of combinations, so that none is tuned harder than another, or "
        "give none of them one"
    )


def check_tuning_effort(arms: Sequence[Arm]) -> None:
    """Raise a GraftError where some arms were tuned harder than others.

    graft.params checks the same beforehand; DVC, though, runs a stage whose own parameters
    changed and looks at no others.
    """
    if message := unequal({arm.label: arm.combinations for arm in arms}):
        raise GraftError(f"the arms were tuned over {message}")
