"""Where the brain is."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadtools.errors import UadError
from uadtools.volume.grid import Grid

LARGEST_BRAIN = 2200.0
"""In mL; no human brain is larger, and every scan with scalp is."""


def background(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the voxels that hold exactly the background value, 0."""
    found: NDArray[np.bool_] = data == 0
    return found


def is_stripped(data: NDArray[Any], grid: Grid) -> bool:
    """Tell whether skull and scalp are gone already: most voxels are exactly 0, and the rest fits a brain.

    A head with scalp has more than 2,200 mL of voxels above 0, a stripped one less.
    """
    empty = background(data)
    return bool(empty.mean() > 0.4 and (~empty).sum() * grid.voxel_volume < LARGEST_BRAIN)


def from_background(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Take everything that is not background for brain, and close holes inside of it."""
    return np.asarray(ndimage.binary_fill_holes(~background(data)), dtype=bool)


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
        raise UadError(f"deepbet finds no brain in it ({_first_line(error)}; pass --brain FILE)") from None
    return np.asarray(mask.dataobj) > 0


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
