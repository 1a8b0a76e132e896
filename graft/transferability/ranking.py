"""Candidate sources in the order of one score, from what the transfer stage wrote."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from graft.core.artifacts import load_json
from graft.core.errors import GraftError
from graft.transferability.appraisal import Appraisal


def read_appraisals(folder: Path, sources: Sequence[str]) -> dict[str, dict[str, Appraisal]]:
    """Read what every score says of each source.

    Parameters
    ----------
    folder
        Where the transfer stage writes one JSON file a source.

    Raises
    ------
    GraftError
        Naming every source whose file is missing or holds no scores.
    """
    missing = [source for source in sources if not (folder / f"{source}.json").is_file()]
    if missing:
        raise GraftError(
            f"{folder} has no scores of {', '.join(missing)}; `dvc repro transfer` makes them"
        )
    return {source: _read(folder / f"{source}.json") for source in sources}


def ranked(appraisals: Mapping[str, Mapping[str, Appraisal]], score: str) -> list[str]:
    """Return the sources, that of the highest value first, those without a value last.

    Raises
    ------
    GraftError
        If the score was not computed for every source.
    """
    without = [source for source, scores in appraisals.items() if score not in scores]
    if without:
        raise GraftError(
            f"{score} was not computed for {', '.join(without)}; add it to transfer.scores in "
            "params.yaml and run `dvc repro transfer`"
        )
    return sorted(appraisals, key=lambda source: _key(appraisals[source][score]), reverse=True)


def _key(appraisal: Appraisal) -> float:
    return -math.inf if appraisal.value is None else appraisal.value


def _read(path: Path) -> dict[str, Appraisal]:
    try:
        return {name: Appraisal(**row) for name, row in load_json(path)["transferability"].items()}
    except (AttributeError, KeyError, TypeError):
        raise GraftError(
            f"{path} holds no transferability scores; `dvc repro transfer` writes them anew"
        ) from None
