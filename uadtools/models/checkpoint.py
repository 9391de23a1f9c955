"""Reading and writing model files: safetensors, with the ModelConfig as JSON in the metadata."""

from __future__ import annotations

import hashlib
import json
import operator
import struct
from collections.abc import Callable
from functools import lru_cache, wraps
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError, near
from uadtools.files import check_free, parse_json, written
from uadtools.models.config import ModelConfig, parse

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
KEY = "uadtools"
REFERENCE = "reference.expected"
"""The tensor of how far healthy scans are from their healed selves, on every second voxel of the model's grid.

Those of single contrasts are called so with the contrast behind, such as reference.expected.FLAIR.
"""
FORMAT = 1
FEATURES = "uadtools.features"
"""In the metadata of a file of features, which models.features reads, in the place of KEY."""
DEFAULT = "any-small"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def default_path() -> Path:
    """Return the model that ships with the package."""
    return Path(str(files("uadtools.models") / "bundled" / DEFAULT / f"{DEFAULT}.safetensors"))


def bundled() -> list[Path]:
    """List the models that ship with the package, each in a folder with its card and thresholds, the default first."""
    return sorted(default_path().parents[1].glob("*/*.safetensors"), key=lambda path: (path.stem != DEFAULT, path.stem))


def located(model: Path | None, base: Path = Path()) -> Path:
    """Return the file of the model that a user means: a file, else the bundled model of that name; none: the default.

    base: the folder that a file's name is relative to.
    """
    if model is None:
        return default_path()
    shipped = {path.stem: path for path in bundled()}
    return base / model if (base / model).exists() else shipped.get(str(model), base / model)


def read_metadata(path: Path) -> dict[str, str]:
    """Read the string table in a safetensors header, without its weights and without torch.

    Raises UadError when the file is missing, is a pickle (refused, never opened) or is no safetensors file.
    """
    return _read_header(path)[0]


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a model's weights, in the same way."""
    return _read_header(path)[1]


def _read_header(path: Path) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    try:
        with path.open("rb") as file:
            start, brace = file.read(8), file.read(1)
            if start.startswith(_PICKLES) and brace != b"{":  # a header's length can begin like a pickle
                raise UadError(
                    f"{path}: a pickle, which can run code when it is opened; refused (only safetensors files are read)"
                )
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= size <= 100_000_000:
                raise UadError(f"{path}: not a model file (`uad-models import` reads other programs' weights)")
            header = parse_json(brace + file.read(size - 1))
            metadata = header.pop("__metadata__", {})
            shapes = {name: tuple(map(operator.index, entry["shape"])) for name, entry in header.items()}
            return {str(k): str(v) for k, v in metadata.items()}, shapes
    except OSError as error:
        shipped = [shipped_path.stem for shipped_path in bundled()]
        raise UadError(
            f"{path}: {error.strerror or error}{near(path.name, shipped)} "
            f"(is the path of the model right? bundled: {', '.join(shipped)})"
        ) from None
    except (ValueError, AttributeError, TypeError, KeyError):
        raise UadError(f"{path}: not a model file, or cut short (expected a safetensors file)") from None


def _once(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """Let a file be read again only where it was written since."""
    kept = lru_cache(maxsize=32)(lambda path, *version: read(path))

    @wraps(read)
    def latest(path: Path) -> T:
        try:
            now = path.stat()
        except OSError:
            return read(path)  # which says what is wrong
        return kept(path, now.st_ino, now.st_mtime_ns, now.st_size)

    return latest


@_once
def read_config(path: Path) -> ModelConfig:
    """Read what a model file says about itself. Raises UadError when it says nothing, or something else."""
    metadata = read_metadata(path)
    if FEATURES in metadata:
        raise UadError(f"{path}: features to compare images by, no model (uad-heal --features takes it)")
    text = metadata.get(KEY)
    if text is None:
        raise UadError(
            f"{path}: a safetensors file without uadtools settings (`uad-models import` reads other programs' weights)"
        )
    try:
        data = parse_json(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise UadError(f"{path}: its uadtools settings are no JSON object")
    version = data.pop("format", None)
    if version != FORMAT:
        raise UadError(f"{path}: model format {version}, this version reads format {FORMAT} (update uadtools)")
    return parse(ModelConfig, data, str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file as they are. Raises UadError when it is damaged."""
    from safetensors.torch import load_file

    return _loaded(path, load_file)


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the same in 32 bits, without torch."""
    from safetensors import safe_open

    def load(path: Path) -> dict[str, NDArray[np.float32]]:
        with safe_open(path, "numpy") as file:  # one by one, so that not all are held in 16 bits, too
            return {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118

    return _loaded(path, load)


def _loaded(path: Path, load: Callable[[Path], dict[str, T]]) -> dict[str, T]:
    from safetensors import SafetensorError

    try:
        return load(path)
    except (SafetensorError, OSError) as error:
        raise UadError(f"{path}: damaged or cut short ({error})") from None


def by_contrast(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Return the references among a model's tensors by contrast, "" for all others."""
    found = {name: value for name, value in arrays.items() if name.startswith(REFERENCE)}
    return {name.removeprefix(REFERENCE).removeprefix("."): value.astype(np.float32) for name, value in found.items()}


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all (an earlier one of that name is replaced)."""
    from safetensors.torch import save  # save_file writes to a hidden file of its own, which a kill leaves behind

    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata)
    with written(path, force=True) as part:
        part.write_bytes(data)


def save_model(path: Path, config: ModelConfig, weights: dict[str, Tensor], *, half: bool = True) -> None:
    """Write a model file. half: store the weights in 16 bits (they are read back as 32)."""
    stored = {k: v.half() if half and v.is_floating_point() else v for k, v in weights.items()}
    write_tensors(path, stored, {KEY: as_text(config)})


def as_text(config: ModelConfig) -> str:
    """Return what a model file says about itself, as it stands in its metadata."""
    return json.dumps({"format": FORMAT, **config.model_dump(mode="json")}, indent=1)


def check_place(path: Path, *, force: bool) -> None:
    """Raise UadError when a model file cannot be written there: another suffix, or what `check_free` refuses."""
    if path.suffix != ".safetensors":
        raise UadError(f"{path}: a model file ends in .safetensors (change -o)")
    check_free(path, force=force)


def amend(
    path: Path, out: Path, config: ModelConfig, extra: dict[str, Tensor] | None = None, *, force: bool = False
) -> Path:
    """Write a model file with other settings, and tensors, in place of those it has; returns `out`.

    The weights stay as they are, bit for bit; the file's hash, which is the model's name in provenance, changes. Raises
    UadError where `check_place` does.
    """
    check_place(out, force=force)
    save_model(out, config, read_tensors(path) | (extra or {}), half=False)
    return out


def is_bundled(model: str) -> bool:
    """Tell whether a model of provenance, NAME:HASH, is one that ships: others are called after its recipe, too."""
    name, _, mark = model.partition(":")
    return any(path.stem == name and file_hash(path) == mark for path in bundled())


def file_hash(path: Path, digits: int = 16) -> str:
    """Return the first hex digits of the file's SHA-256: 16 of them are the model's name in provenance."""
    return _sha256(path)[:digits]


@_once
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
