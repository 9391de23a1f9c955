"""Studies: the images of one scan, as files hold them and as pipes carry them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Concern, read_concerns, told, united
from uadtools.dicom.convert import as_nifti
from uadtools.errors import Misuse, UadError
from uadtools.files import is_name
from uadtools.volume.converters import dicom_in
from uadtools.volume.flat import PICTURES, is_flat, read_flat
from uadtools.volume.io import PAIRED, READABLE, Image, open_file, read_images, read_pair, stem, to_bytes
from uadtools.volume.labels import LESION, read_labels
from uadtools.volume.reading import AS_IT_IS, Reading
from uadtools.volume.roles import ROLES, in_channel, parted

FREESURFER = re.compile(
    r"/(?P<subject>[^/]+)/(?P<name>mri/(orig|rawavg|T1|T2|FLAIR|nu|orig_nu|norm|brain|brain\.finalsurfs|brainmask|wm|"
    r"filled|ribbon|[lr]h\.ribbon|ctrl_pts|aseg|aseg\..*|aparc.*aseg|wmparc|orig/\d+|transforms/.*)|surf/[lr]h\..*)\.mg[hz]$"
)
"""The images in a folder of FreeSurfer's, SUBJECT/mri/."""
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

    def show(self) -> str:
        """Show the report in a notebook, as `uadtools.show` does."""
        import uadtools

        return uadtools.show(self)

    def _repr_html_(self) -> str:
        import uadtools

        return uadtools.show(self, viewer=False)

    def need(self, role: str) -> Image:
        """Return the image of a role. Raises UadError when the study has none."""
        if role not in self.images:
            raise UadError(f"{self.name}: no image of role '{role}' (it has: {', '.join(self.images)})")
        return self.images[role]

    @property
    def channels(self) -> list[str]:
        """The channels that its scan has, "" for the first one."""
        return [channel for role, channel in map(parted, self.images) if role == "scan"]

    def in_channels(self, role: str) -> list[Image]:
        """Return the images of a role, the first channel's first."""
        return [image for name, image in self.images.items() if parted(name)[0] == role]

    def of_contrasts(self, names: Sequence[str], where: str = "") -> list[Image]:
        """Return the scans of channels. where: for errors. Raises UadError where one is missing."""
        if missing := [name for name in names if name not in self.channels]:
            raise UadError(
                f"{where or self.name}: no {' and no '.join(missing)} beside the scan, which the model sees, too "
                f"(uad-preprocess SCAN {' '.join(f'--channel {name}=FILE' for name in missing)})"
            )
        return [self.images[in_channel("scan", name)] for name in names]

    def seen_in(self, channel: str) -> Study:
        """Return a study with a channel's images in the place of the first one's. Raises UadError without any."""
        if channel:
            self.need(in_channel("scan", channel))
        own = {role: image for name, image in self.images.items() for role, of in [parted(name)] if of == channel}
        return Study(self.name, self.images | own)

    def adding(self, *images: Image) -> Study:
        """Put what a tool made in front, the product first, and keep the rest behind it."""
        new = {image.role: image for image in images}
        return Study(self.name, new | {r: i for r, i in self.images.items() if r not in new})

    def brain(self, on: Image | None = None, advice: str = "pass a mask with --brain") -> NDArray[np.bool_]:
        """Return where the brain is: where the mask is above 0, without one the scan, without that healed or score.

        on: the image it is asked for; none: the scan, without one the product. Raises UadError, with advice, when it
        lies on another grid.
        """
        outlines = (self.images[r] for r, role in ROLES.items() if role.outlines and r in self.images)
        outline = next(outlines, self.product)
        self.check_grids(on or self.images.get("scan", self.product), outline, advice=advice)
        return np.asarray(outline.data > 0)

    def check_grids(self, image: Image, *others: Image, advice: str) -> None:
        """Raise UadError, with advice, unless images lie on one grid."""
        for other in others:
            if not image.grid.same(other.grid):
                where = f"{image.role} and {other.role} lie on different grids: {image.grid.unlike(other.grid)}"
                raise UadError(f"{self.name}: {where} ({advice})")


def study_of(images: Study | Image) -> Study:
    """Return a study; of an image, one whose scan it is. Raises UadError for anything else, such as a file's name."""
    if isinstance(images, Image):
        return Study("scan", {"scan": images})
    if not isinstance(images, Study):
        raise UadError(f"{str(images)[:80]}: neither a study nor an image (uadtools.read_study reads a file)")
    return images


def record(image: Image, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the image's provenance with one more line of history: tool, version, arguments, and e.g. seed, model."""
    from uadtools import __version__

    line = {"tool": tool, "version": __version__, "arguments": arguments, **more}
    return {**image.provenance, "history": [*image.provenance.get("history", []), line]}


def fingerprint(*images: Image) -> str:
    """Return what changes when a voxel of the images does, or their place: 16 hex digits."""
    voxels = hashlib.sha256()
    for image in images:
        voxels.update(image.data.tobytes("F") + image.grid.affine.tobytes())
    return voxels.hexdigest()[:16]


def lines_by(image: Image, tool: str) -> list[dict[str, Any]]:
    """Return the lines of an image's history that a tool wrote, the earliest first."""
    return [dict(line) for line in image.provenance.get("history", []) if line.get("tool") == tool]


def last_by(image: Image, tool: str) -> dict[str, Any]:
    """Return the last line of an image's history that a tool wrote; an empty one where it wrote none."""
    return next(reversed(lines_by(image, tool)), {})


def concerns_of(*images: Image) -> list[Concern]:
    """Return what the tools before said against their own results."""
    return united(*(read_concerns(image.provenance.get("concerns")) for image in images))


def noting(image: Image, concerns: Iterable[Concern]) -> dict[str, Any]:
    """Return what an image's provenance is to say of concerns: those it has and these; nothing where there are none."""
    noted = told(concerns_of(image), concerns)
    return {"concerns": noted} if noted else {}


def read_studies(file: BinaryIO, name: str, reading: Reading = AS_IT_IS) -> Iterator[Study]:
    """Read studies from a stream of images, one at a time, so that memory stays that of one study.

    A study ends where the next image names another study, or has a role that this one already has; to see that, one
    image is read ahead. name: what the stream is called in errors, and a study that does not say its name.
    """
    images: dict[str, Image] = {}
    for image in read_images(file, name, reading):
        if image.role in images or (_said(image) and _said(*images.values()) not in ("", _said(image))):
            yield _study(images, name)
            images = {}
        images[image.role] = image
    yield _study(images, name)


def read_path(path: Path, reading: Reading = AS_IT_IS) -> Iterator[Study]:
    """Read the studies in a file, of which most hold one image, or the scan in a folder of DICOM. Raises UadError."""
    if files := dicom_in(path):
        nifti = as_nifti(path, files, reading.series)
        yield _study(next(read_studies(io.BytesIO(nifti), str(path), reading)).images, base_name(path.absolute()))
        return
    if reading.series:
        raise Misuse(f"--series: {path} is no folder of DICOM")
    if path.name.lower().endswith(PAIRED):
        image = read_pair(path, reading)
        yield _study({image.role: image}, base_name(path))
        return
    if is_flat(path):
        yield _study({"scan": read_flat(path)}, base_name(path))
        return
    with open_file(path) as file:
        before = _state(file)
        for study in read_studies(file, str(path), reading):
            if _state(file) != before:
                raise UadError(f"{path}: was changed while it was read (run again when it is whole)")
            yield _study(study.images, base_name(path))


def read_image(path: Path, reading: Reading = AS_IT_IS) -> Image:
    """Read the first image of a file, such as a mask. Raises UadError."""
    return next(read_path(path, reading)).product


def read_mask(
    path: Path, reading: Reading = AS_IT_IS, *, role: str = "brain", tell: Callable[[str], None] = lambda text: None
) -> Image:
    """Read a mask, of the brain or of lesions (role `truth`), as 0 and 1; tell: gets a line where that is a guess.

    What is ignored (see `labels.read_labels`) is 0. Raises UadError for an image that is no such mask.
    """
    image, guesses = read_labels(read_image(path, reading), role, str(path))
    for guess in guesses:
        tell(str(guess))
    mask = image.derive((image.data == LESION).astype(np.uint8), role)
    return replace(mask, provenance=mask.provenance | noting(mask, guesses))


def write_study(study: Study, file: BinaryIO, *, provenance: bool = True) -> None:
    """Write a study's images one after the other, in pieces, so that a closed pipe is noticed."""
    for image in study.images.values():
        rest = memoryview(to_bytes(image, provenance=provenance))
        while rest:
            rest = rest[file.write(rest[:PIECE]) :]
    file.flush()


def streamed(study: Study) -> Study:
    """Return a study as whoever reads it from a pipe has it: NIfTI holds grids and settings in less detail."""
    file = BytesIO()
    write_study(study, file)
    file.seek(0)
    return next(read_studies(file, study.name))


def base_name(path: Path) -> str:
    """Name a study after a file, without what earlier tools appended to it: a_healed.nii.gz is a, a.npz:b is a_b.

    What FreeSurfer makes of a subject is called as the subject is.
    """
    if freesurfer := FREESURFER.search(path.absolute().as_posix()):
        return freesurfer["subject"]
    name = path.stem if path.suffix.lower() in PICTURES else stem(path).replace(".npz", "").replace(":", "_")
    return re.sub("(?<=.)(_(preprocessed|simulated|truth|healed|anomaly|score|detection))+$", "", name)


def is_image(path: Path) -> bool:
    return path.name.lower().endswith(READABLE)


def _state(file: BinaryIO) -> tuple[int, int] | None:
    """Return what changes when somebody writes to a file; None of pipes, which change as they are read."""
    status = os.fstat(file.fileno())
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _said(*images: Image) -> str:
    """Return what the first image that says it calls its study, if a file can be called that; else an empty string."""
    names = (str(image.provenance.get("study", "")) for image in images)
    return next((name for name in names if is_name(name) and name.isprintable()), "")


def _study(images: dict[str, Image], fallback: str) -> Study:
    return Study(_said(*images.values()) or fallback, images)
