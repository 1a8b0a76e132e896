"""Images, archives and arrays that were broken, or made to do harm."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graft.core.artifacts import load_array, load_arrays, load_class_names, load_json, save_arrays
from graft.core.errors import GraftError
from graft.datasets import archives
from graft.datasets import image_files as images
from graft.datasets.arrays import Arrays

LIMIT = 1 << 20


def encoded(file_format):
    """Return a small image of a format, with EXIF and a colour profile where there is room."""
    pixels = np.random.default_rng(3).integers(0, 256, (9, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {} if file_format in ("BMP", "GIF") else {"exif": exif, "icc_profile": b"profile" * 9}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", images.FORMATS)
@given(data=st.data())
def test_whatever_bytes_an_image_has_it_is_decoded_or_refused(corrupt, data, file_format):
    content = corrupt(data, corrupt(data, encoded(file_format)))
    try:
        pixels = images.decode(content, 4, 5, 3, "a.png")
    except GraftError as error:
        assert str(error).startswith("a.png ")  # noqa: PT017 (either is right)
    else:
        assert pixels.shape == (4, 5, 3)


MEMBERS = {
    "a/": None,
    "a/1.png": b"1" * 3000,
    "b/\u00e9.png": b"2" * 700,
    "b/long" + "g" * 120: b"",
}


def zipped(method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content or b"")
    return buffer.getvalue()


def tarred(compression, tar_format=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}", format=tar_format) as archive:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


ARCHIVES = {
    "stored zip": zipped(zipfile.ZIP_STORED),
    "deflated zip": zipped(zipfile.ZIP_DEFLATED),
    "zip by bzip2": zipped(zipfile.ZIP_BZIP2),
    "zip by lzma": zipped(zipfile.ZIP_LZMA),
    "tar": tarred(""),
    "old tar": tarred("", tarfile.GNU_FORMAT),
    "tar.gz": tarred("gz"),
    "tar.bz2": tarred("bz2"),
    "tar.xz": tarred("xz"),
}


def read(path):
    """Return everything in an archive, or None where it is refused."""
    try:
        with archives.opened(path) as archive:
            return dict(archive.members(lambda name: not name.endswith("/"), LIMIT))
    except GraftError as error:
        assert path.name in str(error)  # noqa: PT017 (either is right)
        return None


def is_inside(name):
    return not name.startswith("/") and ".." not in name.split("/") and "\\" not in name


@pytest.mark.parametrize("content", ARCHIVES.values(), ids=ARCHIVES)
@given(data=st.data())
def test_whatever_bytes_an_archive_has_it_is_read_or_refused(tmp_path, corrupt, data, content):
    path = tmp_path / "data"
    path.write_bytes(corrupt(data, content))
    found = read(path) or {}
    assert all(is_inside(name) for name in found)
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


NAMES = st.text("a./\\:~ \x01\u00e9", min_size=1, max_size=8)


@pytest.mark.parametrize("kind", ["zip", "tar"])
@given(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_whatever_names_an_archive_has_none_leads_outside(tmp_path, kind, names):
    path = tmp_path / "data"
    with zipfile.ZipFile(path, "w") if kind == "zip" else tarfile.open(path, "w") as archive:
        for name in names:
            if kind == "zip":
                archive.writestr(name, b"x")
            else:
                archive.addfile(tarfile.TarInfo(name))
    found = read(path) or {}
    assert all(is_inside(name) for name in found)
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def header(kind, size):
    info = tarfile.TarInfo("a")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse_in_pax():
    """A member whose map of holes is as long as its contents, which hold no end of a line."""
    text = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n22 GNU.sparse.name=ab\n"
    before = header(tarfile.XHDTYPE, len(text)) + text.encode().ljust(512, b"\0")
    return before + header(tarfile.REGTYPE, 2 << 20) + b"1" * (2 << 20)


def sparse_of_old():
    """A member whose map of holes goes on and on."""
    first = bytearray(header(tarfile.GNUTYPE_SPARSE, 100))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    return bytes(first) + b"1" * (2 << 20)


TAR_BOMBS = {
    "a long name": header(tarfile.GNUTYPE_LONGNAME, 2 << 20) + b"a" * (2 << 20),
    "a long comment": header(tarfile.XHDTYPE, 2 << 20) + b"a" * (2 << 20),
    "holes": sparse_of_old(),
    "holes of another kind": sparse_in_pax(),
}


@pytest.mark.parametrize("bomb", TAR_BOMBS.values(), ids=TAR_BOMBS)
@pytest.mark.parametrize("before", [b"", header(tarfile.REGTYPE, 0)], ids=["first", "second"])
def test_a_tar_that_fills_the_memory_is_refused_at_its_header(tmp_path, monkeypatch, bomb, before):
    path = tmp_path / "data.tar.gz"
    path.write_bytes(gzip.compress(before + bomb, 1))
    largest = 0
    original = tarfile._Stream.read

    def watched(stream, size=None):
        nonlocal largest
        largest = max(largest, size or 0)
        return original(stream, size)

    monkeypatch.setattr(tarfile._Stream, "read", watched)
    assert read(path) is None
    assert largest <= 1 << 20


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def declaring(shape, descr="|u1", body=b"1234"):
    buffer = io.BytesIO()
    entries = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, entries)
    return buffer.getvalue() + body


HOSTILE_ARRAYS = {
    "objects": npy(np.array([{"a": 1}])),
    "objects in a field": npy(np.array([(1, None)], [("a", "i4"), ("b", "O")])),
    "more than there is": declaring((1 << 40,)),
    "less than nothing": declaring((-4,)),
    "a large item": declaring((1,), "|V2000000000"),
    "no array": b"x" * 100,
}


@pytest.mark.parametrize("content", HOSTILE_ARRAYS.values(), ids=HOSTILE_ARRAYS)
def test_hostile_arrays_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(GraftError, match=r"a\.npy is no usable \.npy file"):
        load_array(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ("x", "y"):
            archive.writestr(f"{name}.npy", content)
    with pytest.raises(GraftError, match=r"a\.npz is no usable \.npz file"):
        load_arrays(tmp_path / "a.npz")
    with pytest.raises(GraftError, match=r"a\.npz"):
        load_own(tmp_path / "a.npz")


def load_own(path, **settings):
    dataset = Arrays(path=path.name, **settings)
    dataset.check(path.parent, None)
    return dataset.load(path.parent, None, np.random.default_rng(0), path.parent)


def test_compressed_arrays_of_a_stage_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 20))
    with pytest.raises(GraftError, match="its arrays are compressed"):
        load_arrays(tmp_path / "a.npz")


def test_own_arrays_that_unpack_to_more_than_allowed_are_refused(tmp_path):
    labels = np.arange(4096) % 2
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((4096, 16, 16), np.uint8), y=labels)
    assert len(load_own(tmp_path / "a.npz").labels) == 4096
    with pytest.raises(GraftError, match=r"unpacks to 1,081,\d+ bytes, more than 1,048,576; if"):
        load_own(tmp_path / "a.npz", max_unpacked_bytes=1 << 20)


@given(data=st.data())
def test_whatever_bytes_a_stages_arrays_have_they_load_or_are_refused(tmp_path, corrupt, data):
    path = tmp_path / "a.npz"
    save_arrays(path, {"a/b": np.arange(6.0), "c": np.ones((2, 3), np.float32)})
    path.write_bytes(corrupt(data, path.read_bytes()))
    for load in (load_arrays, load_array, load_json, load_class_names):
        try:
            load(path)
        except GraftError as error:
            assert "a.npz is no" in str(error)  # noqa: PT017 (either is right)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@given(data=st.data())
def test_whatever_bytes_own_arrays_have_they_load_or_are_refused(tmp_path, corrupt, data, save):
    path = tmp_path / "a.npz"
    save(path, x=np.arange(24, dtype=np.uint8).reshape(6, 2, 2), y=np.array(["a", "b", "c"] * 2))
    path.write_bytes(corrupt(data, path.read_bytes()))
    try:
        load_own(path)
    except GraftError as error:
        assert "a.npz" in str(error)  # noqa: PT017 (either is right)
