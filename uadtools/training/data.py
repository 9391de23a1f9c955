"""Healthy slices: from folders, lists, scans and arrays into one array in memory."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.models.config import GridConfig
from uadtools.volume.slices import to_slices
from uadtools.volume.stream import is_image, read_image

Halves = NDArray[np.float16]


def load_slices(sources: Sequence[str], grid: GridConfig, min_brain: float) -> Halves:
    """Read all slices that hold enough brain. Returns (N, H, W) in [0, 1], in the order of the sources.

    sources: NIfTI scans prepared by uad-preprocess, folders of them, lists (.txt, .csv with a column `path`, .jsonl
    with a key `path`), and .npz files of 2-D images (N, H, W), uint8 or in [0, 1], FILE.npz:KEY for one array of
    several.
    min_brain: least share of pixels above 0. Raises UadError when a source does not fit the grid or nothing is left.
    """
    try:
        found = [piece[_brain_share(piece) >= min_brain] for source in sources for piece in _pieces(source, grid)]
    except RecursionError:
        raise UadError(f"{', '.join(sources)}: a list that names itself") from None
    slices = np.concatenate(found) if found else np.empty((0, 1, 1), np.float16)
    if not len(slices):
        raise UadError(f"{', '.join(sources)}: no slice of which {min_brain:.0%} is brain (nothing to learn from)")
    return slices


def _brain_share(slices: Halves) -> NDArray[np.float64]:
    return np.asarray((slices > 0).mean(axis=(1, 2)))


def _pieces(source: str, grid: GridConfig) -> Iterator[Halves]:
    path = Path(source)
    if path.is_dir():
        scans = sorted(p for p in path.rglob("*") if is_image(p))
        if not scans:
            raise UadError(f"{source}: no NIfTI file in this folder")
        for scan in scans:
            yield _scan(scan, grid)
    elif ".npz" in path.suffix:
        yield _array(source, grid)
    elif path.suffix in (".txt", ".csv", ".jsonl"):
        for entry in _entries(path):
            yield from _pieces(str(path.parent / entry), grid)
    else:
        yield _scan(path, grid)


def _scan(path: Path, grid: GridConfig) -> Halves:
    image = read_image(path)
    off = np.abs(np.array(image.grid.spacing) - grid.spacing).max()
    low, high = float(image.data.min()), float(image.data.max())
    if image.grid.shape != grid.shape or off > 0.01 or image.grid.orientation != "RAS" or low < 0 or not 0 < high <= 1:
        shape, spacing = ",".join(map(str, grid.shape)), ",".join(f"{s:g}" for s in grid.spacing)
        raise UadError(
            f"{path}: not prepared for this recipe: {image.grid}, values {low:g} to {high:g} "
            f"(uad-preprocess {path} --shape {shape} --spacing {spacing})"
        )
    return to_slices(image.data)[:, 0].astype(np.float16)


def _array(source: str, grid: GridConfig) -> Halves:
    name, _, key = source.partition(".npz")
    path, key = Path(f"{name}.npz"), key.removeprefix(":")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            stacks = [k for k in arrays.files if arrays[k].ndim == 3] if not key else [key]
            if len(stacks) != 1:
                raise UadError(f"{path}: {len(stacks)} stacks of images: {', '.join(stacks)} (choose one: {path}:NAME)")
            images = arrays[stacks[0]]
    except KeyError:
        raise UadError(f"{path}: no array '{key}' in it") from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UadError(f"{path}: not a readable .npz file ({error})") from None
    rows = (grid.shape[1], grid.shape[0])
    if images.dtype.kind not in "biuf":
        raise UadError(f"{path}: images of type {images.dtype} (store uint8, or numbers in [0, 1])")
    if images.ndim != 3 or images.shape[1:] != rows or not len(images):
        raise UadError(f"{path}: images of shape {images.shape}, the recipe's grid wants (N, {rows[0]}, {rows[1]})")
    scaled = images.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
    if not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > 1:
        raise UadError(f"{path}: values outside [0, 1] (scale them, or store uint8)")
    return np.asarray(scaled, dtype=np.float16)


def _entries(path: Path) -> list[str]:
    """Return the files that a list names; they are relative to the list."""
    try:
        text = path.read_text()
        if path.suffix == ".csv":
            found = [row["path"] for row in csv.DictReader(text.splitlines())]
        elif path.suffix == ".jsonl":
            found = [json.loads(line)["path"] for line in text.splitlines() if line.strip()]
        else:
            found = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise UadError(f"{path}: {error}") from None
    except (KeyError, ValueError, TypeError):
        found = [""]
    if not all(isinstance(entry, str) and entry for entry in found):
        raise UadError(f"{path}: every entry needs a `path`")
    if not found:
        raise UadError(f"{path}: an empty list")
    return found


def fingerprint(slices: Halves) -> dict[str, Any]:
    """Describe data well enough to notice that they changed between two runs."""
    return {"slices": len(slices), "sum": float(slices.sum(dtype=np.float64))}
