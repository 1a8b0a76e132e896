"""The user's own files, which lie under data/raw and are versioned there by `dvc add`."""

from pathlib import Path, PurePosixPath
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from graft.core.errors import GraftError


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise ValueError(f"{path!r} is not below data/raw; expected a name such as my-images.zip")
    return path


RawPath: TypeAlias = Annotated[str, AfterValidator(_relative)]


def found(raw: Path, path: str) -> Path:
    """Return `raw` / `path`, which exists."""
    file = raw / path
    if not file.exists():
        raise GraftError(f"{file} is missing; put it there, then version it with `dvc add {file}`")
    return file
