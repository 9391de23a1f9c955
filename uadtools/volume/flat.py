"""2-D images: PNG, JPEG and stacks in .npz, as volumes of one slice, or of many that are no neighbours."""

from __future__ import annotations

import math
import re
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume.io import Image
from uadtools.volume.unpacked import most_unpacked

_DAMAGE = (zipfile.BadZipFile, zlib.error, tokenize.TokenError, OverflowError)
PICTURES = (".png", ".jpg", ".jpeg")
_STACK = re.compile(r"(?P<file>.*\.npz)(:(?P<key>.*))?", re.IGNORECASE | re.DOTALL)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Pictures are shown from the front of the head down, with the patient's right side on the left; pixels of 1 mm."""


def is_flat(path: Path) -> bool:
    """Tell whether a name is that of a picture or of a stack, FILE.npz or FILE.npz:KEY."""
    return path.suffix.lower() in PICTURES or _STACK.fullmatch(path.name) is not None


def read_flat(path: Path) -> Image:
    """Read a picture or a stack of them as a volume (columns, rows, images), float32 in [0, 1].

    8-bit images are divided by 255, 16-bit pictures by 65,535. Raises UadError.
    """
    images = _picture(path)[None] if path.suffix.lower() in PICTURES else read_stack(str(path))
    data = np.ascontiguousarray(images.transpose(2, 1, 0), dtype=np.float32)
    x, y, z = data.shape
    return Image(data, Grid((x, y, z), LPS))


def read_stack(source: str) -> NDArray[Any]:
    """Read 2-D images (N, H, W) from FILE.npz, or from one of its arrays, FILE.npz:KEY; in [0, 1]. Raises UadError."""
    named = _STACK.fullmatch(source)
    path, key = (Path(named["file"]), named["key"]) if named else (Path(source), None)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            axes = {entry.filename: _axes(arrays.zip, entry, path) for entry in arrays.zip.infolist()}
            stacks = [k.removesuffix(".npy") for k, count in axes.items() if count == 3] if not key else [key]
            if not stacks:
                raise UadError(f"{path}: no stack of 2-D images in it (an array of three axes: images, rows, columns)")
            if len(stacks) != 1:
                raise UadError(f"{path}: {len(stacks)} stacks of images: {', '.join(stacks)} (choose one: {path}:NAME)")
            images = arrays[stacks[0]]
    except KeyError:
        raise UadError(f"{path}: no array '{key}' in it") from None
    except (OSError, ValueError, TypeError, EOFError, NotImplementedError, RuntimeError, *_DAMAGE) as error:
        raise UadError(f"{path}: not a readable .npz file ({error})") from None
    if images.ndim != 3 or not images.size:
        raise UadError(f"{path}: images of shape {images.shape} (a stack of 2-D images has three axes)")
    return _scaled(images, path)


def _axes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> int:
    """Return how many axes an array in an archive has; no memory is taken for it.

    Raises UadError when it promises more than was packed, or more than images can be packed into.
    """
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    promised, packed = math.prod(shape) * dtype.itemsize, min(entry.compress_size, path.stat().st_size)
    absurd = min(shape, default=0) < 0 or promised > min(entry.file_size, most_unpacked(packed))
    if absurd and not dtype.hasobject:
        raise UadError(f"{path}: promises {promised:,} bytes of images, which are not in it (get the file again)")
    return len(shape)


def _picture(path: Path) -> NDArray[Any]:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    bombs = (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning)
    try:
        with (
            warnings.catch_warnings(action="error", category=Pillow.DecompressionBombWarning),
            Pillow.open(path, formats=("PNG", "JPEG")) as opened,
        ):
            bands = opened.getbands()
            pixels = np.asarray(opened.convert("RGB") if opened.mode in ("P", "LA", "RGBA", "CMYK") else opened)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, *bombs) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a readable picture"
        raise UadError(f"{path}: {reason}") from None
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise UadError(f"{path}: a picture in colour, {'+'.join(bands)} (convert it to grey)")
        pixels = pixels[..., 0]
    if pixels.dtype.itemsize > 1 and pixels.dtype.kind in "iu":  # 16-bit grey, which Pillow may hold in 32 bits
        pixels = pixels / np.float32(65535)
    return _scaled(pixels, path)


def _scaled(images: NDArray[Any], path: Path) -> NDArray[Any]:
    if images.dtype.kind not in "biuf":
        raise UadError(f"{path}: images of type {images.dtype} (store uint8, or numbers in [0, 1])")
    scaled = images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    if not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > 1:
        raise UadError(f"{path}: values outside [0, 1] (scale them, or store uint8)")
    return scaled
