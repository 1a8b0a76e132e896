"""Images of the user's own: a folder of class folders, or a zip or tar file of one."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from graft.core.artifacts import RowWriter, load_array, slices
from graft.core.errors import GraftError
from graft.core.prepared import Examples
from graft.core.progress import progress
from graft.datasets import archives
from graft.datasets.base import Dataset, chosen_classes
from graft.datasets.image_files import SUFFIXES, Pixels
from graft.datasets.image_workers import decode_all
from graft.datasets.raw_files import RawPath, found

Side: TypeAlias = Annotated[int, Field(ge=1, le=4096)]

_LAYOUT = "expected CLASS/FILE, or train/CLASS/FILE and test/CLASS/FILE, under any folders"
_DECODED = "decoded.npy"


class Images(Dataset):
    """Image files in one folder per class, with or without train and test folders above.

    A file's class is the name of its folder. Classes are sorted by name and files by path, so
    that neither the order of an archive nor that of a file system matters. Hidden files and what
    systems leave behind are ignored, and so are files without an image suffix beside the class
    folders; inside of one they count as bad images.

    Attributes
    ----------
    path
        The folder or archive, relative to data/raw.
    image_size
        Height and width that every image is resized to; one number for a square.
    channels
        1 for grey, 3 for RGB.
    on_bad_image
        Whether a broken image is an error or is left out and counted as ``skipped_files``.
    max_unpacked_bytes
        The most that an archive may unpack to.
    """

    name: Literal["images"] = "images"
    path: RawPath
    image_size: Side | tuple[Side, Side]
    channels: Literal[1, 3] = 3
    on_bad_image: Literal["error", "skip"] = "error"
    max_unpacked_bytes: int = Field(default=4 << 30, ge=1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        size = self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return height, width, self.channels

    def check(self, raw: Path, classes: Sequence[str] | None) -> None:
        """Read the names of the files; those of a tar file take a pass through it."""
        with archives.opened(found(raw, self.path)) as archive:
            self._classes(_tree_of(tuple(archive.names()), archive.path), classes)

    def load(
        self,
        raw: Path,
        classes: Sequence[str] | None,
        rng: np.random.Generator,
        workspace: Path,
    ) -> Examples:
        """Decode the files of `classes` on all processors into a memory-mapped array."""
        with archives.opened(found(raw, self.path)) as archive:
            # A pass for the names alone would cost a sequential archive as much as decoding.
            tree = None if archive.sequential else _tree_of(tuple(archive.names()), archive.path)
            total = None if tree is None else tree.count(self._classes(tree, classes)[0])
            with progress("decoding images", total) as advance:
                names, kept, skipped = self._decode(archive, classes, workspace, advance)
        if tree is None:
            tree = _tree_of(tuple(names), archive.path)
        class_names, foreign = self._classes(tree, classes)
        order = sorted(range(len(kept)), key=kept.__getitem__)
        files = [kept[place] for place in order]
        place_of = {name: place for place, name in enumerate(class_names)}
        labels = np.array([place_of[_class_of(file)] for file in files], np.int32)
        is_test = np.array([tree.is_test(file) for file in files], np.bool_)
        _refuse_bare(tree, class_names, labels, is_test)
        inputs = _reordered(workspace / _DECODED, order, workspace / "inputs.npy")
        notes = (("skipped_files", skipped + foreign),) if self.on_bad_image == "skip" else ()
        return Examples(inputs, labels, class_names, is_test if tree.has_test else None, notes)

    def _classes(self, tree: "_Tree", classes: Sequence[str] | None) -> tuple[tuple[str, ...], int]:
        """Return the chosen classes and the number of their files that are no images."""
        class_names = tree.chosen(classes)
        foreign = [name for name in tree.foreign if _class_of(name) in class_names]
        if foreign and self.on_bad_image == "error":
            raise GraftError(
                f"{tree.where}: {foreign[0]} is not called an image; expected one of "
                f"{', '.join(SUFFIXES)}; remove it or set on_bad_image: skip"
            )
        return class_names, len(foreign)

    def _decode(
        self,
        archive: archives.Archive,
        classes: Sequence[str] | None,
        workspace: Path,
        advance: Callable[[int], None],
    ) -> tuple[list[str], list[str], int]:
        """Write the pixels as they come; return all names, those written, the number left out."""
        names: list[str] = []

        def wanted(name: str) -> bool:
            return _is_image(name) and (classes is None or _class_of(name) in classes)

        def files() -> Iterator[tuple[str, bytes]]:
            for name, content in archive.members(wanted, self.max_unpacked_bytes):
                names.append(name)
                if content is not None:
                    yield name, content

        kept: list[str] = []
        skipped = 0
        with RowWriter(workspace / _DECODED, np.uint8, self.shape) as rows:
            for name, result in decode_all(files(), *self.shape):
                advance(1)
                if not isinstance(result, GraftError):
                    rows.write(result[np.newaxis])
                    kept.append(name)
                elif self.on_bad_image == "skip":
                    skipped += 1
                else:
                    raise GraftError(
                        f"{archive.path}: {result}; or leave such files out with on_bad_image: skip"
                    )
        return names, kept, skipped


@dataclass(frozen=True)
class _Tree:
    """What the names of the files say about classes and splits."""

    where: Path
    folders: frozenset[str]  # the folders in which class folders lie: one, or train and test
    available: tuple[str, ...]
    images: tuple[str, ...]
    lacking: frozenset[tuple[str, str]]  # (class, folder) of class folders without an image
    foreign: tuple[str, ...]  # files in class folders that are not called images

    def count(self, class_names: Sequence[str]) -> int:
        """Return the number of images of some classes."""
        return sum(_class_of(name) in class_names for name in self.images)

    @property
    def has_test(self) -> bool:
        return len(self.folders) == 2

    def is_test(self, file: str) -> bool:
        return self.has_test and _last(_parent(_parent(file))).lower() == "test"

    def chosen(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        """Return the classes asked for, none of which is empty."""
        names = chosen_classes(self.available, classes)
        for name, folder in sorted(self.lacking):
            if name in names:
                raise GraftError(
                    f"{self.where}: class folder {_join(folder, name)} holds no images; add some, "
                    "remove it, or leave the class out with `classes`"
                )
        return names


@lru_cache(maxsize=1)  # source and target are often classes of one archive
def _tree_of(names: tuple[str, ...], where: Path) -> _Tree:
    images = tuple(name for name in names if _is_image(name))
    with_images = {_parent(name) for name in images}
    if not images:
        raise GraftError(
            f"{where} holds no images; {_LAYOUT}, with files called {', '.join(SUFFIXES)}"
        )
    if len(set(images)) < len(images):
        twice = min(name for name, count in Counter(images).items() if count > 1)
        raise GraftError(f"{where} holds {twice} twice; pack it again")
    folders = _top_folders(with_images, where)
    available = {_last(folder) for folder in _class_folders(names, folders)}
    lacking = {
        (name, folder)
        for name in available
        for folder in folders
        if _join(folder, name) not in with_images
    }
    others = (name for name in names if not name.endswith("/") and not _is_image(name))
    return _Tree(
        where=where,
        folders=frozenset(folders),
        available=tuple(sorted(available)),
        images=images,
        lacking=frozenset(lacking),
        foreign=tuple(sorted(name for name in others if _parent(name) in with_images)),
    )


def _reordered(source: Path, order: Sequence[int], target: Path) -> Pixels:
    """Return the rows of `source` in `order`, memory-mapped."""
    rows = load_array(source)
    places = np.array(order, np.intp)
    if np.array_equal(places, np.arange(len(places))):
        return rows
    with RowWriter(target, np.uint8, rows.shape[1:]) as file:
        for part in slices(len(places), rows):
            file.write(rows[places[part]])
    source.unlink()
    return load_array(target)


def _refuse_bare(
    tree: _Tree,
    class_names: Sequence[str],
    labels: npt.NDArray[np.int32],
    is_test: npt.NDArray[np.bool_],
) -> None:
    """Refuse a class of which no image could be read."""
    for split in (False, True) if tree.has_test else (False,):
        counts = np.bincount(labels[is_test == split], minlength=len(class_names))
        if not counts.all():
            name = class_names[int(counts.argmin())]
            raise GraftError(
                f"{tree.where}: every image of class {name!r} is broken; replace them, or leave "
                "the class out with `classes`"
            )


def _top_folders(with_images: set[str], where: Path) -> set[str]:
    if "" in with_images:
        raise GraftError(f"{where} holds images outside of class folders; {_LAYOUT}")
    folders = {_parent(folder) for folder in with_images}
    is_split = {_last(folder).lower() for folder in folders} == {"train", "test"}
    if len(folders) == 1 or (
        len(folders) == 2 and is_split and len({_parent(folder) for folder in folders}) == 1
    ):
        return folders
    shown = ", ".join(sorted(f"{folder or '.'}/" for folder in folders)[:4])
    raise GraftError(
        f"{where} mixes layouts: there are folders of images at {len(folders)} places ({shown}); "
        f"{_LAYOUT}"
    )


def _class_folders(names: Iterable[str], folders: set[str]) -> Iterator[str]:
    """Yield every folder directly in one of `folders`, listed or implied by a file in it."""
    pending = {name[:-1] if name.endswith("/") else _parent(name) for name in names}
    while pending:
        yield from (
            folder for folder in pending if _parent(folder) in folders and folder not in folders
        )
        pending = {_parent(folder) for folder in pending} - {""}


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _class_of(file: str) -> str:
    return _last(_parent(file))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
