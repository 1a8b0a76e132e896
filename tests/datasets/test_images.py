import os
import tarfile
import zipfile

import numpy as np
import pytest
from pydantic import ValidationError

from graft.core.errors import GraftError
from graft.datasets import archives
from graft.datasets.images import Images

from .conftest import png, write_folder, write_tar, write_zip

FLAT = {"cat/2.png": png(2), "cat/10.png": png(10), "ant/1.png": png(1)}
SPLIT = {
    "train/cat/1.png": png(1),
    "train/ant/2.png": png(2),
    "test/cat/3.png": png(3),
    "test/ant/4.png": png(4),
}
TAR_MODES = {"data.tar": "w", "data.tar.gz": "w:gz", "data.tar.bz2": "w:bz2", "data.tar.xz": "w:xz"}
KINDS = ["data", "data.zip", *TAR_MODES]


def write(path, files):
    if path.name == "data":
        path.mkdir()
        write_folder(path, files)
    elif path.suffix == ".zip":
        write_zip(path, files, compression=zipfile.ZIP_DEFLATED)
    else:
        write_tar(path, files, TAR_MODES[path.name])


def load(folder, classes=None, path="data.zip", **settings):
    workspace = folder / "workspace"
    workspace.mkdir(exist_ok=True)
    settings = {"image_size": 4, "channels": 1, **settings}
    dataset = Images(path=path, **settings)
    return dataset.load(folder, classes, np.random.default_rng(0), workspace)


def values(examples):
    return [int(image.max()) for image in examples.inputs]


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("prefix", ["", "a/b/"])
def test_class_folders_in_every_kind_of_container(tmp_path, path, prefix):
    write(tmp_path / path, {prefix + name: content for name, content in FLAT.items()})
    examples = load(tmp_path, path=path)
    assert examples.class_names == ("ant", "cat")
    assert examples.labels.tolist() == [0, 1, 1]
    assert values(examples) == [1, 10, 2]  # files are sorted by name, not by number
    assert examples.is_test is None
    assert examples.notes == ()
    assert isinstance(examples.inputs, np.memmap)


@pytest.mark.parametrize("path", KINDS)
def test_train_and_test_folders_become_the_split(tmp_path, path):
    write(tmp_path / path, SPLIT)
    examples = load(tmp_path, path=path)
    assert values(examples) == [4, 3, 2, 1]
    assert examples.labels.tolist() == [0, 1, 0, 1]
    assert examples.is_test.tolist() == [True, True, False, False]


def test_the_order_of_an_archive_does_not_matter(tmp_path):
    for path in ("data.zip", "data.tar"):
        write(tmp_path / path, FLAT)
        (tmp_path / f"other-{path}").mkdir()
        write(tmp_path / f"other-{path}" / path, dict(reversed(FLAT.items())))
        first = load(tmp_path, path=path).inputs.tobytes()
        assert first == load(tmp_path, path=f"other-{path}/{path}").inputs.tobytes()


def test_a_rectangle_and_three_channels(tmp_path):
    write(tmp_path / "data.zip", FLAT)
    assert load(tmp_path, image_size=(3, 5), channels=3).inputs.shape == (3, 3, 5, 3)


def test_image_size_is_read_from_json():
    text = '{"name": "images", "path": "a.zip", "image_size": [3, 5]}'
    assert Images.model_validate_json(text).shape == (3, 5, 3)


@pytest.mark.parametrize("path", ["data", "data.zip", "data.tar"])
def test_what_systems_leave_behind_is_ignored(tmp_path, path):
    junk = ["__MACOSX/cat/._2.png", ".DS_Store", "cat/Thumbs.db", "cat/.hidden.png", ".git/a/b.png"]
    write(tmp_path / path, {**FLAT, **dict.fromkeys(junk, b"junk")})
    assert values(load(tmp_path, path=path)) == [1, 10, 2]


def test_files_beside_the_class_folders_are_ignored(tmp_path):
    write(tmp_path / "data.zip", {**FLAT, "README.txt": b"about", "cat.csv": b"1,2"})
    assert values(load(tmp_path)) == [1, 10, 2]


@pytest.mark.parametrize("path", ["data", "data.zip", "data.tar.gz"])
def test_files_of_other_classes_are_not_decoded(tmp_path, path):
    write(tmp_path / path, {**FLAT, "bat/1.png": b"broken"})
    assert load(tmp_path, ["cat"], path=path).class_names == ("cat",)


def test_windows_separators_are_separators(tmp_path):
    write_zip(tmp_path / "data.zip", {name.replace("/", "\\"): c for name, c in FLAT.items()})
    assert load(tmp_path).class_names == ("ant", "cat")


def test_names_are_compared_in_one_normal_form(tmp_path):
    write_zip(tmp_path / "data.zip", {"cafe\u0301/1.png": png(1), "b/1.png": png(1)})
    assert load(tmp_path, ["caf\u00e9"]).class_names == ("caf\u00e9",)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_zip_compression_is_read(tmp_path, method):
    write_zip(tmp_path / "data.zip", FLAT, compression=method)
    assert values(load(tmp_path)) == [1, 10, 2]


def test_a_zip_that_was_packed_anew_is_read_anew(tmp_path):
    write(tmp_path / "data.zip", FLAT)
    assert len(load(tmp_path).labels) == len(FLAT)
    (tmp_path / "data.zip").unlink()
    write(tmp_path / "data.zip", {**FLAT, "cat/9.png": png(9)})
    assert len(load(tmp_path).labels) == len(FLAT) + 1


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    write_zip(tmp_path / "inner.zip", {"x/1.png": png(9)})
    write_tar(tmp_path / "data.tar", {**FLAT, "z.zip": (tmp_path / "inner.zip").read_bytes()})
    assert load(tmp_path, path="data.tar").class_names == ("ant", "cat")


def test_many_files_are_decoded_by_several_processes(tmp_path):
    files = {f"{name}/{number:04}.png": png(number % 200) for number in range(600) for name in "ab"}
    write(tmp_path / "data.tar", dict(reversed(files.items())))
    assert values(load(tmp_path, path="data.tar")) == [number % 200 for number in range(600)] * 2


@pytest.mark.parametrize("path", ["data", "data.zip", "data.tar.gz"])
def test_bad_images_are_skipped_and_counted_if_asked(tmp_path, path):
    write(tmp_path / path, {**FLAT, "cat/bad.png": b"no image", "cat/list.txt": b"no image"})
    examples = load(tmp_path, path=path, on_bad_image="skip")
    assert values(examples) == [1, 10, 2]
    assert examples.notes == (("skipped_files", 2),)


# What is wrong, as files, and the message that names it.
WRONG = {
    "corrupt image": ({**FLAT, "cat/bad.png": png(1)[:40]}, r"cat/bad\.png is (broken|no image)"),
    "foreign file": ({**FLAT, "cat/list.txt": b""}, r"cat/list\.txt is not called an image"),
    "no images": ({"cat/list.txt": b""}, "holds no images; expected CLASS/FILE"),
    "no class folder": ({"1.png": png(1)}, "images outside of class folders"),
    "two depths": ({**FLAT, "cat/sub/1.png": png(1)}, r"mixes layouts: .* at 2 places \(\./, cat/"),
    "three splits": ({**SPLIT, "val/cat/1.png": png(1)}, "mixes layouts: .* at 3 places"),
    "lacking in test": ({**SPLIT, "train/bat/1.png": png(1)}, "test/bat holds no images"),
    "implied empty class": ({**FLAT, "bat/list.txt": b""}, "class folder bat holds no images"),
}


@pytest.mark.parametrize("path", ["data", "data.zip", "data.tar.gz"])
@pytest.mark.parametrize("fault", WRONG)
def test_wrong_contents_are_refused(tmp_path, path, fault):
    files, message = WRONG[fault]
    write(tmp_path / path, files)
    with pytest.raises(GraftError, match=message):
        load(tmp_path, path=path)


def test_an_empty_class_folder_is_refused_unless_not_chosen(tmp_path):
    write(tmp_path / "data", FLAT)
    (tmp_path / "data/bat").mkdir()
    for classes in (None, ["bat", "cat"]):
        with pytest.raises(GraftError, match="class folder bat holds no images; add some"):
            Images(path="data", image_size=4).check(tmp_path, classes)
    assert values(load(tmp_path, ["cat"], path="data")) == [10, 2]


def test_a_class_of_which_all_images_are_broken_is_refused(tmp_path):
    write(tmp_path / "data.zip", {**FLAT, "bat/1.png": b"broken"})
    with pytest.raises(GraftError, match="every image of class 'bat' is broken"):
        load(tmp_path, on_bad_image="skip")


def test_a_missing_file_is_answered_with_what_to_do(tmp_path):
    with pytest.raises(GraftError, match=r"data\.zip is missing; put it there, .* `dvc add "):
        load(tmp_path)


@pytest.mark.parametrize("path", ["/etc", "../other.zip", "a/../../b", "."])
def test_a_path_outside_of_the_raw_folder_is_refused(path):
    with pytest.raises(ValidationError, match="is not below data/raw"):
        Images(path=path, image_size=4)


@pytest.mark.parametrize("content", [b"", b"neither", b"PK\3\4 cut short", b"\x1f\x8b broken"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(
        GraftError, match=r"is no archive .*; expected a folder, a \.zip or a \.tar"
    ):
        load(tmp_path)


@pytest.mark.parametrize("path", ["data.zip", "data.tar"])
@pytest.mark.parametrize("name", ["../cat/1.png", "cat/../../1.png", "/cat/1.png", "C:/cat/1.png"])
def test_a_name_that_leads_outside_is_refused(tmp_path, path, name):
    write(tmp_path / path, {**FLAT, name: png(1)})
    with pytest.raises(GraftError, match="leads outside of the archive"):
        load(tmp_path, path=path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_a_tar_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        info = tarfile.TarInfo("cat/1.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(GraftError, match=r"cat/1\.png is a link or a device"):
        load(tmp_path, path="data.tar")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("cat/1.png")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(GraftError, match=r"cat/1\.png is a link"):
        load(tmp_path)


@pytest.mark.parametrize("target", ["../outside.png", "2.png", "absent.png"])
def test_a_link_in_a_folder_is_refused(tmp_path, target):
    write(tmp_path / "data", FLAT)
    (tmp_path / "outside.png").write_bytes(png(1))
    (tmp_path / "data/cat/3.png").symlink_to(target)
    with pytest.raises(GraftError, match=r"cat/3\.png is a link, which graft does not follow"):
        load(tmp_path, path="data")


def test_a_pipe_in_a_folder_is_refused(tmp_path):
    write(tmp_path / "data", FLAT)
    os.mkfifo(tmp_path / "data/cat/3.png")
    with pytest.raises(GraftError, match=r"3\.png is neither a file nor a folder"):
        load(tmp_path, path="data")


def test_an_encrypted_zip_is_refused(tmp_path):
    write(tmp_path / "data.zip", FLAT)
    content = bytearray((tmp_path / "data.zip").read_bytes())
    for start in range(len(content)):
        if content[start : start + 4] == b"PK\1\2":
            content[start + 8] |= 1
    (tmp_path / "data.zip").write_bytes(content)
    with pytest.raises(GraftError, match="is encrypted; pack it without a password"):
        load(tmp_path)


@pytest.mark.parametrize("path", ["data.zip", "data.tar", "data.tar.gz"])
def test_an_archive_over_the_limit_is_refused(tmp_path, path):
    write(tmp_path / path, {"cat/1.png": b"\0" * 5000, "cat/2.png": b"\0" * 5000})
    with pytest.raises(
        GraftError, match=r"unpacks to more than 6,000 bytes; .* max_unpacked_bytes"
    ):
        load(tmp_path, path=path, max_unpacked_bytes=6000, on_bad_image="skip")


def test_a_file_above_the_limit_for_one_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 50)
    for path in ("data", "data.zip", "data.tar"):
        write(tmp_path / path, {"cat/1.png": png(1)})
        with pytest.raises(GraftError, match="graft reads files of up to 50"):
            load(tmp_path, path=path)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    # The header says 10 bytes; the data go on, as a zip bomb's do.
    write_zip(tmp_path / "data.zip", {"cat/1.png": b"\0" * 9999}, compression=zipfile.ZIP_DEFLATED)
    content = (tmp_path / "data.zip").read_bytes()
    size = (9999).to_bytes(4, "little")
    (tmp_path / "data.zip").write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(GraftError, match=r"cat/1\.png is broken \(its size or checksum"):
        load(tmp_path)


def test_a_member_with_a_wrong_checksum_is_refused(tmp_path):
    write_zip(tmp_path / "data.zip", {"cat/1.png": b"A" * 64})
    content = (tmp_path / "data.zip").read_bytes()
    (tmp_path / "data.zip").write_bytes(content.replace(b"A" * 64, b"B" * 64))
    with pytest.raises(GraftError, match=r"cat/1\.png is broken \(its size or checksum"):
        load(tmp_path)


def test_a_tar_cut_short_is_refused(tmp_path):
    write(tmp_path / "data.tar.gz", {f"cat/{n}.png": os.urandom(5000) for n in range(9)})
    content = (tmp_path / "data.tar.gz").read_bytes()
    (tmp_path / "data.tar.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(GraftError, match="is broken or cut short"):
        load(tmp_path, path="data.tar.gz", on_bad_image="skip")


@pytest.mark.parametrize("path", ["data.zip", "data.tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(tmp_path, path):
    write(tmp_path / path, {"cat/1.png": png(1), "./cat/1.png": png(2)})
    with pytest.raises(GraftError, match=r"holds cat/1\.png twice"):
        load(tmp_path, path=path)


def test_check_decodes_nothing(tmp_path):
    write(tmp_path / "data.zip", {**FLAT, "cat/bad.png": b"no image"})
    Images(path="data.zip", image_size=4).check(tmp_path, None)


def test_progress_is_silent_without_a_terminal(tmp_path, capfd):
    write(tmp_path / "data.zip", FLAT)
    load(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_broken_image_leaves_no_process_behind(tmp_path):
    files = {f"a/{number:04}.png": png(1) for number in range(1500)} | {"b/1.png": b"broken"}
    write(tmp_path / "data.zip", files)
    with pytest.raises(GraftError, match=r"b/1\.png is no image"):
        load(tmp_path)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
