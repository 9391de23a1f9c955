"""Studies: the images of one scan, as files hold them and as pipes carry them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from uadtools.errors import UadError
from uadtools.volume.io import SUFFIXES, Image, read_images, read_pair, stem, to_bytes

PIECE = 1 << 20
"""Bytes written to a pipe at once: a larger write into a closed pipe can go unnoticed."""


@dataclass(frozen=True)
class Study:
    """The images of one scan by role; the first is the product of the tool that wrote them.

    name: what the scan is called; files made from it are named after it.
    """

    name: str
    images: dict[str, Image]

    @property
    def product(self) -> Image:
        return next(iter(self.images.values()))

    def need(self, role: str) -> Image:
        """Return the image of a role. Raises UadError when the study has none."""
        if role not in self.images:
            raise UadError(f"{self.name}: no image of role '{role}' (it has: {', '.join(self.images)})")
        return self.images[role]

    def adding(self, *made: Image) -> Study:
        """Put what a tool made in front, the product first, and keep the rest behind it."""
        fresh = {image.role: image for image in made}
        return Study(self.name, fresh | {r: i for r, i in self.images.items() if r not in fresh})


def record(image: Image, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the image's provenance with one more line of history: tool, version, arguments, and e.g. seed, model."""
    from uadtools import __version__  # noqa: PLC0415  the package's top imports this room

    line = {"tool": tool, "version": __version__, "arguments": arguments, **more}
    return {**image.provenance, "history": [*image.provenance.get("history", []), line]}


def read_studies(file: BinaryIO, name: str, volume: int | None = None) -> Iterator[Study]:
    """Read studies from a stream of images, one at a time, so that memory stays that of one study.

    A study ends where the next image names another study, or has a role that this one already has.
    """
    images: dict[str, Image] = {}
    for image in read_images(file, name, volume):
        if images and (image.role in images or _name(image, name) != _name(next(iter(images.values())), name)):
            yield _study(images, name)
            images = {}
        images[image.role] = image
    if images:
        yield _study(images, name)


def read_path(path: Path, volume: int | None = None) -> Iterator[Study]:
    """Read the studies in a file; most files hold one image. Raises UadError."""
    if path.is_dir():
        raise UadError(f"{path}: is a folder (name the files in it)")
    if path.name.lower().endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
        image = read_pair(path, volume)
        yield _study({image.role: image}, stem(path))
        return
    try:
        with path.open("rb") as file:
            for study in read_studies(file, str(path), volume):
                yield Study(study.name if "study" in study.product.provenance else base_name(path), study.images)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None


def read_image(path: Path, volume: int | None = None) -> Image:
    """Read the first image of a file, such as a mask. Raises UadError."""
    return next(read_path(path, volume)).product


def write_study(study: Study, file: BinaryIO, *, provenance: bool = True) -> None:
    """Write a study's images one after the other, in pieces, so that a closed pipe is noticed."""
    for image in study.images.values():
        data = memoryview(to_bytes(image, provenance=provenance))
        for start in range(0, len(data), PIECE):
            file.write(data[start : start + PIECE])
    file.flush()


def base_name(path: Path) -> str:
    """Name a study after a file, without what earlier tools appended to it: a_healed.nii.gz is a."""
    name = stem(path)
    for role in ("preprocessed", "healed", "score", "detection"):
        name = name.removesuffix(f"_{role}")
    return name


def is_image(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def by_role(images: Iterable[Image]) -> dict[str, Image]:
    return {image.role: image for image in images}


def _name(image: Image, fallback: str) -> str:
    found = image.provenance.get("study")
    return found if isinstance(found, str) and found else fallback


def _study(images: dict[str, Image], fallback: str) -> Study:
    return Study(_name(next(iter(images.values())), fallback), images)
