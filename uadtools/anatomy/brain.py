"""Where the brain is."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.grids.grid import Grid
from uadtools.volume.background import background
from uadtools.volume.clean import keep_largest

SMALLEST_BRAIN, LARGEST_BRAIN = 800.0, 2200.0
"""In mL; no adult's brain is smaller or larger, and every scan with scalp is larger."""
LEAST_BRAIN = 100.0
"""In mL; less is no brain at all, but a mask that went wrong or a scan of something else."""
CUT_BRAIN = 10.0
"""In cm2 of brain on a border of the field of view; at the lower one stem and cord leave the skull through less."""
MISSING_BRAIN = 0.01
"""Share of the brain beyond the field of view from which on it is told; the last millimetres of the top have less."""
TAPER = 10.0
"""In mm before a border; by how much the brain's cross-section falls over it tells how much is beyond."""
AIR = -500.0
"""In Hounsfield units; tissue is above."""
PROGRAMS = {
    "hd-bet": (("hd-bet",), "{program} -i {scan} -o {out}"),
    "synthstrip": (("mri_synthstrip", "nipreps-synthstrip", "synthstrip-docker"), "{program} -i {scan} -o {out}"),
}
"""Brain extractors that users install by themselves: what they may be called, and how they are called."""


def is_stripped(data: NDArray[Any], grid: Grid) -> bool:
    """Tell whether skull and scalp are gone already: most voxels are background, and the rest fits a brain.

    A head with scalp has more than 2,200 mL of other voxels, a stripped one less.
    """
    empty = background(data)
    return bool(empty.mean() > 0.4 and (~empty).sum() * grid.voxel_volume < LARGEST_BRAIN)


def from_background(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Take everything that is not background for brain, and close holes inside of it."""
    return np.asarray(ndimage.binary_fill_holes(~background(data)), dtype=bool)


def from_air(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Take the largest thing that is not air in a CT scan for what is to be looked at, and close holes inside of it."""
    body = ndimage.binary_opening(data > AIR)
    return np.asarray(ndimage.binary_fill_holes(keep_largest(body)), dtype=bool)


def concerns(brain: NDArray[np.bool_], grid: Grid) -> list[Concern]:
    """Say what is strange about a brain mask on the scan's grid: its size, and how much of it is cut off."""
    found = []
    volume = float(brain.sum()) * grid.voxel_volume
    if not SMALLEST_BRAIN <= volume <= LARGEST_BRAIN:
        usual = f"{SMALLEST_BRAIN:,.0f} to {LARGEST_BRAIN:,.0f} is what adults have"
        text = f"the brain has {volume:,.0f} mL; {usual} (look at the mask: --save-brain FILE, of uad-run --keep)"
        found.append(Concern("brain-size", text, round(volume, 1)))
    cuts = [cut for axis in range(3) for end in (0, -1) if (cut := _cut(brain, grid, axis, end))[0] > CUT_BRAIN]
    if sum(missing for _, missing in cuts) > MISSING_BRAIN * volume:
        area = sum(area for area, _ in cuts)
        text = f"the brain touches the border of the scan over {area:.0f} cm2, so a part of it is missing"
        found.append(Concern("brain-cut-by-scan", text, round(area, 1)))
    return found


def _cut(brain: NDArray[np.bool_], grid: Grid, axis: int, end: int) -> tuple[float, float]:
    """Return the area of brain on a border, in cm2, and how much there is beyond, in mL, if it goes on to taper there.

    Where a body is round its cross-section falls evenly to its end, so that there is a triangle of it beyond; where it
    does not fall before the border there is no telling, and the answer is infinite.
    """
    spacing = grid.spacing[axis]
    areas = np.moveaxis(brain, axis, 0).sum(axis=(1, 2)) * (math.prod(grid.spacing) / spacing / 100)
    areas = areas[::-1] if end else areas
    inner = min(max(1, round(TAPER / spacing)), len(areas) - 1)
    falls = (areas[inner] - areas[0]) / (inner * spacing / 10) if inner else 0.0  # cm2 per cm
    return float(areas[0]), float(areas[0] ** 2 / (2 * falls)) if falls > 0 else math.inf


def cut_off(brain: NDArray[np.bool_], grid: Grid, target: Grid) -> list[Concern]:
    """Say how much of a brain lies outside another grid."""
    onto = np.linalg.inv(target.affine) @ grid.affine
    places = np.argwhere(brain) @ onto[:3, :3].T + onto[:3, 3]
    outside = float(((places < -0.5) | (places > np.array(target.shape) - 0.5)).any(axis=1).mean())
    text = f"{outside:.1%} of the brain lies outside the grid of {'x'.join(map(str, target.shape))} and is cut off"
    enough = outside >= 0.001  # one voxel in a thousand is the roundness of the mask's edge
    return [Concern("brain-cut-by-grid", text, round(outside, 4))] if enough else []


def require_brain(brain: NDArray[np.bool_], grid: Grid, room: float) -> None:
    """Raise UadError for a brain of less than 100 mL, unless a model's grid, of `room` mL, is too small for adults."""
    volume = float(brain.sum()) * grid.voxel_volume
    if volume < LEAST_BRAIN and room > SMALLEST_BRAIN:
        raise UadError(f"what was found has {volume:.0f} mL, which is no brain (pass a mask with --brain FILE)")


def by_program(name: str, data: NDArray[Any], grid: Grid) -> NDArray[np.bool_]:
    """Find the brain with a program that the user has installed, hd-bet or synthstrip. data: (X, Y, Z).

    Raises UadError when it is not there or fails. Sources: Isensee et al. 2019; Hoopes et al. 2022.
    """
    names, template = PROGRAMS[name]
    program = next((path for path in map(shutil.which, names) if path), None)
    if program is None:
        raise UadError(f"--brain {name}: no program {' or '.join(names)} is installed (install it, or --brain FILE)")
    with tempfile.TemporaryDirectory() as folder:
        scan, out = Path(folder, "scan.nii.gz"), Path(folder, "brain.nii.gz")
        nib.save(nib.Nifti1Image(data.astype(np.float32), grid.affine), scan)
        words = [word.format(program=program, scan=scan, out=out) for word in template.split()]
        process = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if process.returncode or not out.exists():
            reason = (process.stderr.strip() or process.stdout.strip() or "it said nothing").splitlines()[-1]
            raise UadError(f"{name} failed with status {process.returncode} ({reason})")
        try:
            output: Any = nib.load(out)
            stripped = np.asarray(output.dataobj)
        except (nib.filebasedimages.ImageFileError, OSError, ValueError, EOFError, zlib.error):
            raise UadError(f"{name} gave back a file that is not readable, so its brain is of no use") from None
        stripped = stripped.reshape(stripped.shape[:3]) if stripped.shape[3:] == (1,) else stripped
        if stripped.shape != data.shape or not np.allclose(output.affine, grid.affine, atol=1e-3):
            raise UadError(f"{name} gave back another grid than it got, so its brain is of no use")
        outside = min(0, data.min())  # what synthstrip puts there, and hd-bet 0
        return np.asarray(ndimage.binary_fill_holes((stripped != 0) & (stripped != outside)), dtype=bool)


def deepbet(data: NDArray[Any], grid: Grid) -> NDArray[np.bool_]:
    """Find the brain in a T1 scan of an adult with the package deepbet. data: (X, Y, Z) in RAS order.

    Raises UadError when the package is missing or finds no brain. Source: Fisch et al. 2024.
    """
    try:
        from deepbet.bet import BrainExtraction
    except ImportError:
        raise UadError(
            "the scan has its skull, and finding the brain needs the package deepbet "
            "(pip install 'uadtools[deepbet]', or pass --brain FILE, or --brain none if the skull is gone)"
        ) from None
    scan = nib.Nifti1Image(data.astype(np.float32), grid.affine)
    try:
        _, mask, _ = BrainExtraction(no_gpu=True).run(scan)
    except (AssertionError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UadError(f"deepbet finds no brain in it ({reason}; pass --brain FILE)") from None
    return np.asarray(mask.dataobj) > 0
