"""A user's folder, zip or tar file, read member by member in memory and never extracted."""

import lzma
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, ClassVar, Self, TypeAlias

from graft.core.collector import uncollected
from graft.core.errors import GraftError

MAX_FILE_BYTES = 256 << 20

Member: TypeAlias = tuple[str, bytes | None]
_Entry: TypeAlias = tuple[str, bytes | zipfile.ZipInfo]

_JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"}
_LONG_HEADERS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}
_MAX_HEADER_BYTES = 1 << 20
_SPARSE = "a file stored with holes"
_DRIVE = re.compile("[A-Za-z]:")
# Offset of the header, packed size, size, checksum, method: what is kept of a zipfile.ZipInfo,
# which takes ten times the memory. Copies, or the numbers would keep its memory from being freed.
_RECORD = struct.Struct("<QQQLH")

_BROKEN = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


class Archive(ABC):
    """Named members; hidden files and what systems leave behind are left out.

    Names are in Unicode's normal form C with "/" between their parts; those of folders end in "/".

    Attributes
    ----------
    sequential
        Whether listing costs as much as reading, so that one pass should do both.
    """

    sequential: ClassVar[bool] = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the name of every file and folder, without reading a file."""
        return [name for name, _ in self.members(lambda _: False, limit=None)]

    @abstractmethod
    def members(self, wanted: Callable[[str], bool], limit: int | None) -> Iterator[Member]:
        """Yield every name, with the contents of the files that are `wanted`.

        A sequential archive yields them in its own order, every other one sorted by name.

        Parameters
        ----------
        limit
            The most bytes to unpack in all, counted while unpacking.

        Raises
        ------
        GraftError
            When a name leads outside, a member is a link or encrypted, a file is above
            `MAX_FILE_BYTES`, more than `limit` is unpacked, or the archive is broken.
        """


class Folder(Archive):
    """A folder of files. Nothing is unpacked, so `limit` does not apply."""

    def members(self, wanted: Callable[[str], bool], limit: int | None) -> Iterator[Member]:
        """Yield the members sorted by name."""
        for name, path in sorted(self._entries()):
            yield name, self._content(path) if wanted(name) else None

    def _entries(self) -> Iterator[tuple[str, Path]]:
        pending = [("", self.path)]
        while pending:
            prefix, folder = pending.pop()
            for entry in _listed(folder):
                if _is_junk(entry.name):
                    continue
                name = prefix + _text(entry.name, self.path)
                if _is_folder(entry):
                    name += "/"
                    pending.append((name, Path(entry.path)))
                yield name, Path(entry.path)

    def _content(self, path: Path) -> bytes:
        try:
            _refuse_large(path.stat().st_size, str(path))
            return path.read_bytes()
        except OSError as error:
            raise GraftError(f"{path} cannot be read: {error.strerror}") from None


class Zip(Archive):
    """A zip file, stored or deflated, or packed in any other way that zipfile knows."""

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        super().__init__(path)
        self._raw = raw
        status = os.fstat(raw.fileno())
        self._entries = _entries(path, status.st_ino, status.st_size, status.st_mtime_ns)

    def names(self) -> list[str]:
        """Return the name of every file and folder, sorted."""
        return [name for name, _ in self._entries]

    def members(self, wanted: Callable[[str], bool], limit: int | None) -> Iterator[Member]:
        """Yield the members sorted by name."""
        unpacked = 0
        for name, record in self._entries:
            if not wanted(name):
                yield name, None
                continue
            content = self._content(name, record)
            unpacked += len(content)
            _refuse_excess(unpacked, limit, self.path)
            yield name, content

    @cached_property
    def _file(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self._raw)

    def _content(self, name: str, record: bytes | zipfile.ZipInfo) -> bytes:
        try:
            if isinstance(record, bytes):
                return self._unpacked(name, record)
            _refuse_large(max(record.compress_size, record.file_size), f"{self.path}: {name}")
            return self._file.read(record)
        except NotImplementedError as error:
            raise GraftError(f"{self.path}: {name}: {error}; pack it with deflate") from None
        except (*_BROKEN, struct.error) as error:
            raise GraftError(f"{self.path}: {name} is broken ({error}); pack it again") from None

    def _unpacked(self, name: str, record: bytes) -> bytes:
        # What ZipFile.read does, in a seventh of its time: it matters for many small files.
        offset, packed_size, size, checksum, method = _RECORD.unpack(record)
        _refuse_large(max(packed_size, size), f"{self.path}: {name}")
        self._raw.seek(offset)
        name_size, extra_size = struct.unpack_from("<HH", self._raw.read(30), 26)
        self._raw.seek(name_size + extra_size, os.SEEK_CUR)
        content = self._raw.read(packed_size)
        if method == zipfile.ZIP_DEFLATED:
            # One byte more than the header says: enough to see that it says too little.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
        if len(content) != size or zlib.crc32(content) != checksum:
            raise zipfile.BadZipFile("its size or checksum is not what the archive says")
        return content


@lru_cache(maxsize=1)  # source and target are often classes of one archive
def _entries(path: Path, *_state_of_the_file: int) -> list[_Entry]:
    """Return the names in a zip file, sorted, and where their contents are."""
    try:
        with uncollected(), zipfile.ZipFile(path) as file:
            return sorted(_checked(file.infolist(), path), key=itemgetter(0))
    except (*_BROKEN, NotImplementedError, ValueError, struct.error) as error:
        raise GraftError(f"{path} is broken ({error}); pack it again") from None


def _checked(infos: Iterable[zipfile.ZipInfo], path: Path) -> Iterator[_Entry]:
    for info in infos:
        name = _safe(info.filename, path, is_folder=info.is_dir())
        if name is None:
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise GraftError(_link(path, name))
        if info.flag_bits & 1:
            raise GraftError(f"{path}: {name} is encrypted; pack it without a password")
        if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            numbers = info.header_offset, info.compress_size, info.file_size, info.CRC
            yield name, _RECORD.pack(*numbers, info.compress_type)
        else:
            yield name, info


class _TarHeader(tarfile.TarInfo):
    """A header that does not make tarfile read more than a name and its like into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _LONG_HEADERS and header.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(_SPARSE)
        return header

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError(_SPARSE)


class Tar(Archive):
    """A tar file, compressed or not, read from front to back."""

    sequential = True

    def members(self, wanted: Callable[[str], bool], limit: int | None) -> Iterator[Member]:
        """Yield the members in the order of the archive."""
        try:
            with tarfile.open(self.path, "r|*", tarinfo=_TarHeader) as file:
                while (info := file.next()) is not None:
                    # Or the headers of all members would stay in memory.
                    file.members = []  # type: ignore[attr-defined]
                    name = self._checked_name(info)
                    # Even a member that nobody wants has to be unpacked to get past it.
                    _refuse_excess(file.offset, limit, self.path)
                    if name is not None:
                        is_wanted = info.isreg() and wanted(name)
                        yield name, self._content(file, info) if is_wanted else None
        except (*_BROKEN, ValueError) as error:
            raise GraftError(
                f"{self.path} is broken or cut short ({error}); pack it again"
            ) from None

    def _checked_name(self, info: tarfile.TarInfo) -> str | None:
        name = _safe(info.name, self.path, is_folder=info.isdir())
        if name is not None and not (info.isreg() or info.isdir()):
            raise GraftError(_link(self.path, name))
        return name

    def _content(self, file: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
        _refuse_large(info.size, f"{self.path}: {info.name}")
        content = file.extractfile(info)
        assert content is not None, "a regular file has contents"
        return content.read()


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a folder, a zip file or a tar file of any compression that tarfile knows."""
    if path.is_dir():
        yield Folder(path)
    elif _starts_like_zip(path) and zipfile.is_zipfile(path):
        with path.open("rb") as raw:
            yield Zip(path, raw)
    elif _is_tar(path):
        yield Tar(path)
    elif zipfile.is_zipfile(path):  # a self-extracting one, which starts with a program
        with path.open("rb") as raw:
            yield Zip(path, raw)
    else:
        raise GraftError(
            f"{path} is no archive that graft reads, or is cut short; expected a folder, a .zip "
            "or a .tar (.gz, .bz2, .xz)"
        )


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise GraftError(f"{folder} cannot be read: {error.strerror}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a folder or a file, and refuse whatever is neither."""
    if entry.is_symlink():
        raise GraftError(
            f"{entry.path} is a link, which graft does not follow; put the file itself there "
            "(where DVC made it: `dvc config cache.type reflink,copy`, then `dvc checkout "
            "--relink`)"
        )
    if not (entry.is_dir() or entry.is_file()):
        raise GraftError(f"{entry.path} is neither a file nor a folder; remove it")
    return entry.is_dir()


def _starts_like_zip(path: Path) -> bool:
    # A tar file that ends with a zip file would pass for a zip file.
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except OSError as error:
        raise GraftError(f"{path} cannot be read: {error.strerror}") from None


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, tarinfo=_TarHeader):
            return True
    except (*_BROKEN, ValueError):
        return False


def _safe(name: str, archive: Path, *, is_folder: bool) -> str | None:
    """Return the name in its normal form, or None for what is to be left out."""
    normal = _text(name, archive).replace("\\", "/")
    above, _, last = normal.rpartition("/")
    path, leads_outside, is_junk = _examined(above)
    if leads_outside or last == ".." or normal.startswith("/") or _DRIVE.match(normal):
        raise GraftError(
            f"{archive}: {name!r} leads outside of the archive; pack it again with relative names"
        )
    if last not in ("", "."):
        path = f"{path}/{last}" if path else last
        is_junk = is_junk or _is_junk(last)
    if is_junk or not path:
        return None
    return path + "/" if is_folder else path


@lru_cache(maxsize=1024)  # an archive has many files and few folders
def _examined(folder: str) -> tuple[str, bool, bool]:
    """Return a folder's name in its normal form, whether it leads outside, whether it is junk."""
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    return "/".join(parts), ".." in parts, any(_is_junk(part) for part in parts)


def _text(name: str, archive: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise GraftError(f"{archive}: the name {name!r} is not valid UTF-8; rename it") from None
    return unicodedata.normalize("NFC", name)


def _is_junk(part: str) -> bool:
    return part.startswith(".") or part.lower() in _JUNK


def _link(archive: Path, name: str) -> str:
    return (
        f"{archive}: {name} is a link or a device, which graft does not follow; pack the files "
        "themselves"
    )


def _refuse_large(size: int, name: str) -> None:
    if size > MAX_FILE_BYTES:
        raise GraftError(
            f"{name} has {size:,} bytes; graft reads files of up to {MAX_FILE_BYTES:,}; remove it"
        )


def _refuse_excess(unpacked: int, limit: int | None, archive: Path) -> None:
    if limit is not None and unpacked > limit:
        raise GraftError(
            f"{archive} unpacks to more than {limit:,} bytes; if that is right, raise "
            "max_unpacked_bytes"
        )
