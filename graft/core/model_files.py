"""What a .keras file may hold: checked before Keras, which runs what a file names, sees it.

Keras's own safe mode refuses lambdas, but imports any class or function that a file names, makes
room for whatever sizes it declares, and unpacks its assets to disk. Files are handed about, so
graft opens those alone that hold what its own networks consist of.
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.core.errors import GraftError

if TYPE_CHECKING:
    import keras

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

# What networks may consist of, by module. A network with another layer needs a line here; the
# layer must neither hold code nor read files.
ALLOWED: dict[str | None, frozenset[str]] = {
    "keras": frozenset({"DTypePolicy"}),
    "keras.initializers": frozenset({"GlorotUniform", "HeNormal", "Ones", "Zeros"}),
    "keras.layers": frozenset(
        {
            "Add",
            "BatchNormalization",
            "Concatenate",
            "Conv2D",
            "Dense",
            "Flatten",
            "GlobalAveragePooling2D",
            "Identity",
            "InputLayer",
            "MaxPooling2D",
            "ReLU",
            "Rescaling",
            "Resizing",
            "Softmax",
        }
    ),
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.ops.image": frozenset({"RGBToGrayscale"}),
    None: frozenset({"__keras_tensor__"}),
}

_LAST = "channels_last"
_MAX_TEXT_BYTES = 16 << 20
_MAX_PARTS = 20_000
_MAX_ACTIVATIONS = 1 << 26

# What zipfile raises on files that are broken in one way or another.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a .keras file whose members are the three that graft writes, none compressed.

    What is not compressed cannot unpack to more than the file itself holds.

    Raises
    ------
    GraftError
        When the file is missing, or is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            yield archive
    except FileNotFoundError:
        raise GraftError(f"{path} is missing; `dvc repro` makes it") from None
    except BROKEN_ZIP as error:
        raise _unusable(path, str(error) or type(error).__name__) from None


def check(path: Path) -> None:
    """Check that a .keras file holds a model that Keras can be given.

    Raises
    ------
    GraftError
        When it names a class that is not `ALLOWED`, declares more weights than it holds, or its
        weights are anything but plain arrays.
    """
    with opened(path) as archive:
        config, weights = archive.read(CONFIG), archive.read(WEIGHTS)
    try:
        _check_arrays(weights)
        _check_config(json.loads(config), len(weights))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(path, f"it does not describe a model ({error})") from None
    except (ValueError, OSError, RuntimeError) as error:  # the last two are HDF5's
        raise _unusable(path, str(error)) from None


def check_activations(path: Path, model: "keras.Model") -> None:
    """Check that no layer of a loaded model turns one example into more than memory can hold."""
    for layer in model.layers:
        shape = layer.output.shape[1:]
        if None in shape or math.prod(shape) > _MAX_ACTIVATIONS:
            raise _unusable(
                path,
                f"{layer.name} returns {tuple(shape)} of an example; expected known sizes and up "
                f"to {_MAX_ACTIVATIONS:,} numbers",
            )


def _unusable(path: Path, reason: str) -> GraftError:
    return GraftError(f"{path} is no usable Keras model: {reason}; `dvc repro` writes one")


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = sorted(info.filename for info in members)
    if names != [CONFIG, METADATA, WEIGHTS]:
        shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
        raise ValueError(f"it holds {shown or 'nothing'}; expected {CONFIG}, {METADATA}, {WEIGHTS}")
    for info in members:
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"{info.filename} is compressed; expected it as it is")
        if info.flag_bits & 1:
            raise ValueError(f"{info.filename} is encrypted; expected it as it is")
        if info.filename != WEIGHTS and info.file_size > _MAX_TEXT_BYTES:
            raise ValueError(
                f"{info.filename} has {info.file_size:,} bytes; expected up to {_MAX_TEXT_BYTES:,}"
            )


def _check_config(config: Any, weight_bytes: int) -> None:
    """Check that all parts of a model are allowed, and that it has the weights it declares."""
    if not isinstance(config, dict) or config.get("class_name") != "Functional":
        raise ValueError(f"{CONFIG} is no model of the kind that Keras calls Functional")
    parts = list(_parts(config))
    if len(parts) > _MAX_PARTS:
        raise ValueError(f"it has {len(parts):,} parts; expected up to {_MAX_PARTS:,}")
    declared = sum(map(_declared_weights, parts))
    if declared > weight_bytes:
        raise ValueError(
            f"its layers declare {declared:,} weights, its file holds {weight_bytes:,} bytes"
        )


def _parts(config: Any) -> Iterator[Mapping[str, Any]]:
    """Yield everything that `config` makes an object of; all of it is allowed."""
    if isinstance(config, list):
        for item in config:
            yield from _parts(item)
    elif isinstance(config, dict):
        if "class_name" in config:
            _check_class(config)
            yield config
        for value in config.values():
            yield from _parts(value)


def _check_class(config: Mapping[str, Any]) -> None:
    name, module, registered = (config.get(k) for k in ("class_name", "module", "registered_name"))
    known = ALLOWED.get(module) if module is None or isinstance(module, str) else None
    if known is None or not isinstance(name, str) or name not in known:
        raise ValueError(
            f"it asks for {name!r} of {module!r}, which none of graft's networks consists of"
        )
    if registered not in (None, name):
        raise ValueError(f"it asks for {name!r} under the name {registered!r}")
    if len(config.get("inbound_nodes", ())) > 1:
        raise ValueError(f"it uses a {name} twice, as none of graft's networks does")


def _declared_weights(layer: Mapping[str, Any]) -> int:
    """Return how many weights Keras makes of a layer before it reads any.

    Keras builds a layer for the input shape that the file claims, and then refuses another one.
    """
    kind, config = layer["class_name"], layer["config"]
    if kind not in ("Conv2D", "Dense", "BatchNormalization"):
        return 0
    if config.get("lora_rank") or config.get("data_format", _LAST) != _LAST:
        raise ValueError(f"it has a {kind} with lora_rank or data_format, which graft does not use")
    shape = layer["build_config"]["input_shape"]
    if kind == "BatchNormalization":
        return 4 * _size(shape[config["axis"]])
    inputs = _size(shape[-1])
    if kind == "Dense":
        return (inputs + 1) * _size(config["units"])
    kernel = math.prod(map(_size, config["kernel_size"]))
    return (kernel * inputs // _size(config["groups"]) + 1) * _size(config["filters"])


def _size(value: object) -> int:
    if not isinstance(value, int) or value < 1:
        raise TypeError(f"received {value!r} as a size")
    return value


def _check_arrays(content: bytes) -> None:
    """Check that an HDF5 file holds groups of plain arrays, each as large as it says."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        links: list[tuple[str, object]] = []
        file.visititems_links(lambda name, link: links.append((name, link)))
        for name, link in links:
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{WEIGHTS}: {name} is a link")  # noqa: TRY004 (of the file's)
            item = file[name]
            if isinstance(item, h5py.Group):
                continue
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biufV":
                raise ValueError(f"{WEIGHTS}: {name} is no array of numbers")
            if item.external or item.is_virtual or item.chunks:
                raise ValueError(f"{WEIGHTS}: {name} is not stored in one piece")
            if item.nbytes > item.id.get_storage_size():
                raise ValueError(f"{WEIGHTS}: {name} is declared larger than it is")
