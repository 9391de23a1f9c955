"""The volumes of a report: what its viewer draws, how, and over what."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.grids.box import Box, box_of
from uadtools.grids.grid import Grid
from uadtools.report.picture import window
from uadtools.volume.chain import GridChain, in_scan_space, labels_on, native_grid, seen_from
from uadtools.volume.io import Image
from uadtools.volume.labels import IGNORED, LESION, Labels, read_labels
from uadtools.volume.roles import ROLES, in_channel, parted
from uadtools.volume.stream import Study, last_by

GREY = ("#000000", "#ffffff")
COLOURS = {
    "scan": GREY,
    "healed": GREY,
    "score": ("#7a1020", "#ff7a1a", "#fff3a0"),
    "spread": ("#10306e", "#8fe3ff"),
    "region": ("#b58cff",),
    "detection": ("#ff5a1f",),
    "truth": ("#3fc7ff",),
    "hit": ("#ffe14d",),
}
"""From the lowest value to the highest, told apart by all eyes; in this order layers are drawn over one another."""
TITLES = {"spread": "spread of the draws", "region": "region"}
JUDGED = {"detection": "false alarm", "truth": "miss", "hit": "hit"}
"""What masks are called where there are both, and each shows what no other does."""
_INT16 = 32767
MARGIN = 3
"""Voxels that are shown around what is not 0."""


@dataclass(frozen=True)
class Layer:
    """A volume as the page embeds it.

    nifti: gzipped, without any provenance, and in the scan's world. low, high: values of the first and the last colour.
    """

    role: str
    title: str
    nifti: bytes
    low: float
    high: float
    opacity: float
    shown: bool

    @property
    def colours(self) -> tuple[str, ...]:
        return COLOURS[parted(self.role)[0]]

    @property
    def mark(self) -> str:
        """What the page's parts for it are called."""
        return self.role.replace(":", "-")


@dataclass(frozen=True)
class Layered:
    """A study whose images all lie in the world of its base, the scan where it has one.

    chain: that led there, empty where it is not known. missing: what is left out, and why. guesses: how masks were read
    that are not of 0 and 1.
    """

    study: Study
    chain: GridChain
    missing: tuple[str, ...]
    guesses: tuple[Concern, ...]

    @property
    def base(self) -> Image:
        return self.study.images.get("scan", self.study.product)


def layered(study: Study, truth: Image | None) -> Layered:
    """Bring what a report shows of a study into one world. Raises UadError when there is nothing to show, or no truth.

    truth: an expert's mask, on the grid of the detection, of the score, or of the scan as it came.
    """
    base = study.images.get("scan", study.product)
    chain, missing = _chain(base)
    images, guesses = dict[str, Image](), list[Concern]()
    for role in study.images:
        if parted(role)[0] not in COLOURS or role == "truth":
            continue
        image = study.images[role]
        if _is_mask(role):
            read, doubts = _read(study, image, "prediction" if role == "detection" else role, role)
            image, guesses = read.derive((read.data == LESION).astype(np.uint8), role), guesses + doubts
        image = replace(image, grid=image.grid if image.grid.same(base.grid) else seen_from(chain, image.grid))
        if apart := _apart(image.grid, base.grid):
            missing.append(f"{role} ({apart})")
        else:
            images[role] = image
    if not images:
        raise UadError(f"{study.name}: nothing to show in it (it has: {', '.join(study.images)})")
    healed = [] if "product" in last_by(study.product, "uad-heal") else ["healed"]  # of a method that heals nothing
    wanted = ("scan", *healed, "score", "detection")
    absent = [role for role in wanted if role not in study.images]
    missing += [f"{', '.join(absent)} (not given)"] if absent else []
    if (expert := truth or study.images.get("truth")) is not None:
        read, doubts = _read(study, expert, "truth", "truth")
        guesses += doubts
        judged = next((images[role] for role in ("detection", "score") if role in images), base)
        labels = labels_on(read, replace(judged, provenance={"chain": chain}), f"{study.name}: truth")
        images |= _judged(judged, labels)
        missing += ["what is detected where the truth says to ignore"] if (labels == IGNORED).any() else []
    ordered = {role: image for base in COLOURS for role, image in images.items() if parted(role)[0] == base}
    return Layered(Study(study.name, ordered), chain, tuple(missing), tuple(guesses))


def _read(study: Study, image: Image, wanted: str, what: str) -> tuple[Image, list[Concern]]:
    """Read a mask; the guesses do not name the study."""
    read, guesses = read_labels(image, wanted, f"{study.name}: {what}")
    return read, [replace(guess, text=guess.text.removeprefix(f"{study.name}: ")) for guess in guesses]


def _judged(image: Image, labels: Labels) -> dict[str, Image]:
    """Return the truth on an image's grid, and for a detection the hits, and what is left where nothing is ignored."""
    lesion = labels == LESION
    images = {"truth": image.derive(lesion.astype(np.uint8), "truth")}
    if image.role == "detection":
        detected = (image.data > 0) & (labels != IGNORED)
        images |= {
            role: image.derive(data.astype(np.uint8), role)
            for role, data in (("detection", detected), ("hit", detected & lesion))
        }
    return images


def _chain(base: Image) -> tuple[GridChain, list[str]]:
    """Return the chain that led to an image, and what is wrong with it."""
    chain = base.provenance.get("chain", [])
    try:
        return (chain, []) if chain and in_scan_space([*chain], native_grid(chain)) else ([], [])
    except UadError as error:
        return [], [f"where the scan came from (it {error})"]


def layers(study: Study) -> list[Layer]:
    """Encode the images of a study that `layered` made; shown at first are the scan, what is detected and the truth."""
    shown = {"scan", "detection", "truth", "hit"} & study.images.keys()
    shown |= {next(iter(study.images))} | ({"score"} if "detection" not in shown else set())
    box, base, titles = _occupied(study), study.product.grid, JUDGED if "hit" in study.images else {}
    made = []
    for role, image in study.images.items():
        low, high = _range(study, role)
        base_role, channel = parted(role)
        opacity = 0.5 if _is_mask(role) else 0.8 if base_role not in ("scan", "healed") else 1.0
        title = titles.get(role) or TITLES.get(role) or f"{ROLES[base_role].title} {channel}".rstrip()
        data = image.data & ~(study.images["hit"].data > 0) if role in titles and role != "hit" else image.data
        cut = image.derive(data[box], role, _cut(base, box)) if image.grid.same(base) else image.derive(data, role)
        made.append(Layer(role, title, _nifti(cut, low, high), low, high, opacity, role in shown))
    return made


def _occupied(study: Study) -> Box:
    """Return the box that holds what the images on the first one's grid show, and a margin."""
    images = [image for image in study.images.values() if image.grid.same(study.product.grid)]
    return box_of(np.any([image.data != 0 for image in images], axis=0), MARGIN)


def _cut(grid: Grid, box: Box) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] = (grid.affine @ [*(part.start for part in box), 1.0])[:3]
    x, y, z = (part.stop - part.start for part in box)
    return Grid((x, y, z), affine)


def threshold_of(study: Study) -> float | None:
    """Return the threshold that the detection was made with, as far as its history tells."""
    arguments = last_by(study.images.get("detection", study.product), "uad-postproc").get("arguments")
    level = arguments.get("threshold") if isinstance(arguments, dict) else None
    return float(level) if isinstance(level, int | float) and np.isfinite(level) else None


def _is_mask(role: str) -> bool:
    return role == "hit" or ROLES[parted(role)[0]].kind == "mask"


def _range(study: Study, role: str) -> tuple[float, float]:
    """Choose the values that the first and the last colour stand for; scan and healed have the same."""
    if _is_mask(role):
        return 0.5, 0.6
    base, channel = parted(role)
    grey, own = base in ("scan", "healed"), in_channel("scan", channel)
    data = study.images[own if grey and own in study.images else role].data
    inside = data[data != 0] if (data != 0).any() else data
    if grey:
        return window(data)
    high = float(np.percentile(inside, 99.9))
    level = threshold_of(study) if role == "score" else None
    low = min(float(np.percentile(inside, 95)) if level is None else level, high / 2)
    return low, max(high, low + 1e-6)


def _nifti(image: Image, low: float, high: float) -> bytes:
    """Encode an image as uint8 or int16, 0 staying 0; that it says its window spares the viewer to search for one."""
    if _is_mask(image.role):
        nifti = nib.Nifti1Image((image.data > 0.5).astype(np.uint8), image.grid.affine)
    else:
        slope = float(np.abs(image.data).max()) / _INT16 or 1.0
        nifti = nib.Nifti1Image(np.round(image.data / slope).astype(np.int16), image.grid.affine)
        nifti.header.set_slope_inter(slope, 0)
    nifti.header["cal_min"], nifti.header["cal_max"] = low, high
    return gzip.compress(nifti.to_bytes(), 6, mtime=0)


def _apart(grid: Grid, base: Grid) -> str:
    """Say where a grid lies that shares less than half of its box, or of the base's, with the base's box; else ''."""
    here, there = _box(grid), _box(base)
    shared = np.prod(np.maximum(np.minimum(here[1], there[1]) - np.maximum(here[0], there[0]), 0))
    smaller = min(np.prod(high - low) for low, high in (here, there))
    return f"it lies elsewhere than the scan: {grid.unlike(base)}" if shared < smaller / 2 else ""


def _box(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest coordinates of a grid's corners, mm."""
    ends = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape], indexing="ij")).reshape(3, -1)
    corners = grid.affine[:3, :3] @ ends + grid.affine[:3, 3:]
    return corners.min(axis=1), corners.max(axis=1)
