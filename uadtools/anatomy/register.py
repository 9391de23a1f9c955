"""Affine registration: where a scan's brain lies in the space of a template."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.anatomy.bias import NEEDS_SITK, last_line
from uadtools.errors import UadError
from uadtools.grids.grid import Grid, resample
from uadtools.volume.background import background
from uadtools.volume.io import Image
from uadtools.volume.stream import read_image

FINE = 2.0
"""In mm; both images are compared on voxels of this size, which finds a brain to a fraction of it."""
LEVELS = (4, 2, 1)
"""How much coarser each level is, first to last."""


def template(name: str) -> Image:
    """Read a template: a file, or "mni", the MNI152 brain (2009a, T1, 1 mm) that nilearn carries. Raises UadError."""
    if name != "mni":
        return read_image(Path(name))
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise UadError("--register mni needs the package nilearn (pip install 'uadtools[register]', or name a FILE)")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    return read_image(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")


def affine(moving: Image, fixed: Image, *, seed: int = 0, rigid: bool = False) -> NDArray[np.float64]:
    """Find the affine that brings one brain onto another; returns (4, 4), from the moving world to the fixed, in mm.

    rigid: by turns and shifts alone, from where they lie, as of two scans of one person.

    Both images are 0 where nothing is to be compared. Mattes mutual information on 50 bins, regular-step gradient
    descent over three levels, started from the moments of both images; a fifth of the voxels are looked at, drawn with
    `seed`. One thread and six decimals, so that the result does not depend on the machine. Raises UadError when
    SimpleITK is missing or finds nothing. Source: Mattes et al. 2003; SimpleITK.
    """
    try:
        import SimpleITK as sitk  # noqa: N813  as its own documents call it
    except ImportError:
        raise UadError(f"--register {NEEDS_SITK}") from None
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the metric does not heed its own number
    try:
        return _registered(sitk, moving, fixed, seed, rigid)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _registered(sitk: Any, moving: Image, fixed: Image, seed: int, rigid: bool) -> NDArray[np.float64]:
    pictures = []
    for image in (fixed, moving):
        grid = _upright(image)
        picture = sitk.GetImageFromArray(resample(image.data.astype(np.float32), image.grid, grid).transpose(2, 1, 0))
        picture.SetSpacing(grid.spacing)
        picture.SetOrigin([float(v) for v in grid.affine[:3, 3]])
        pictures.append(picture)
    if rigid:
        start = sitk.Euler3DTransform()
        start.SetCenter(pictures[0].TransformContinuousIndexToPhysicalPoint([n / 2 for n in pictures[0].GetSize()]))
    else:
        start = sitk.CenteredTransformInitializer(
            *pictures, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    search = sitk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(50)
    search.SetMetricSamplingStrategy(search.RANDOM)
    search.SetMetricSamplingPercentage(0.2, seed + 1)  # 0 would mean the time of day
    search.SetInterpolator(sitk.sitkLinear)
    search.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, 0.6)
    search.SetOptimizerScalesFromPhysicalShift()
    search.SetShrinkFactorsPerLevel(LEVELS)
    search.SetSmoothingSigmasPerLevel([level / 2 for level in LEVELS])
    search.SetInitialTransform(start, inPlace=True)
    try:
        search.Execute(*pictures)
    except RuntimeError as error:
        advice = "is the template of the same contrast, and a brain?"
        raise UadError(f"registration failed ({last_line(error)}; {advice})") from None
    points = np.vstack([np.zeros(3), np.eye(3)]) * 100
    images = np.array([start.TransformPoint([float(v) for v in p]) for p in points])
    onto_moving = np.eye(4)
    onto_moving[:3, :3] = (images[1:] - images[0]).T / 100
    onto_moving[:3, 3] = images[0]
    return np.asarray(np.round(np.linalg.inv(onto_moving), 6), dtype=np.float64)


def agreement(moving: Image, fixed: Image, matrix: NDArray[np.float64]) -> float:
    """Return the Dice of both brains, which are where their images are not 0, after registration."""
    moved = Grid(moving.grid.shape, matrix @ moving.grid.affine)
    grid = _upright(fixed)
    one, other = (
        resample((~background(image.data)).astype(np.float32), place, grid) > 0.5
        for image, place in ((moving, moved), (fixed, fixed.grid))
    )
    total = int(one.sum() + other.sum())
    return 2 * int((one & other).sum()) / total if total else 0.0


def _upright(image: Image) -> Grid:
    """Return a grid of FINE mm along the axes of the world that holds everything that is not background."""
    occupied = np.argwhere(~background(image.data))
    if not len(occupied):
        raise UadError("nothing but background to register (is this the right file?)")
    ends = np.array([occupied.min(axis=0) - 1, occupied.max(axis=0) + 1])
    corners = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1)
    world = image.grid.affine[:3, :3] @ corners + image.grid.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    affine = np.diag([FINE, FINE, FINE, 1.0])
    affine[:3, 3] = low
    x, y, z = (int(n) for n in np.ceil((high - low) / FINE) + 1)
    return Grid((x, y, z), affine)
