"""The files of one study, put together: those that are named, and those that lie beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from uadtools.concerns import Tell
from uadtools.datasets.bids import understood
from uadtools.datasets.sink import beside
from uadtools.datasets.sources import say_noted
from uadtools.errors import UadError
from uadtools.volume.io import Image, stem
from uadtools.volume.reading import Reading
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import Study, base_name, concerns_of, noting, read_path


def grouped(paths: Iterable[Path]) -> list[list[Path]]:
    """Put the files of one study together: those of one folder whose names differ in what a tool appended."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.with_name(study_name(path)), []).append(path)
    return list(groups.values())


def study_name(path: Path) -> str:
    """Name a study after one of its files, or after that of a map of its; after a derivative of BIDS, too."""
    if study := understood(stem(path))[0]:
        return study
    return re.sub(f"(?<=.)_({'|'.join(ROLES)})$", "", base_name(path))


def read_group(paths: Sequence[Path], roles: Iterable[str], reading: Reading, tell: Tell) -> list[Study]:
    """Read the files of a study, and those beside them that hold other roles; a stream that was saved may have more.

    tell: gets a line for what lies beside and was not made on the same way, which is left out. Raises UadError.
    """
    read = [(path, study) for path in paths for study in read_path(path, reading)]
    if len(read) > len(paths):
        return [study for _, study in read]
    name, images = study_name(paths[0]), dict[str, Image]()
    for path, study in read:
        say_noted(study.product, name, tell)
        for image in (_with_role(image, path) for image in study.images.values()):
            if image.role in images:
                raise UadError(f"{path}: a second {image.role} of {name} (name one)")
            images[image.role] = image
    for role in [role for role in roles if role not in images]:
        path = beside(paths[0], role)
        if path.is_file():
            there = next(read_path(path, reading.beside))
            image, *more = there.in_channels(there.product.role)
            image = _with_role(image, path)
            if image.role == role and all(_one_way(image, other) for other in images.values()):
                images |= {role: image} | {other.role: other for other in more}
            else:
                tell(f"{path}: lies beside, but was not made on the same way, and is left out (name it to see it)")
    latest = sorted(images.values(), key=lambda image: -len(_history(image)))
    return [Study(name, {image.role: image for image in latest})]


def with_given(study: Study, *given: Image) -> Study:
    """Give a study other masks and maps than its own; its images then tell what was a guess about these, too."""
    said = concerns_of(*given)
    images = {r: replace(i, provenance=i.provenance | noting(i, said)) for r, i in study.images.items()}
    return Study(study.name, images).adding(*images.values(), *given)


def _with_role(image: Image, path: Path) -> Image:
    """Take the role of an image that says none from the name of its file."""
    last = understood(stem(path))[1] or stem(path).rpartition("_")[2]
    silent = image.role == "scan" and not _history(image)
    return replace(image, role=last) if silent and last in ROLES else image


def _one_way(image: Image, other: Image) -> bool:
    """Tell whether one image's history goes on where the other's ends, or one says nothing."""
    short, long = sorted((_history(image), _history(other)), key=len)
    return long[: len(short)] == short


def _history(image: Image) -> list[object]:
    return list(image.provenance.get("history", []))
