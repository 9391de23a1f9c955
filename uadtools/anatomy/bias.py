"""The bias field: brightness that drifts over a scan because the coil hears some places better than others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.errors import UadError
from uadtools.grids.grid import Grid

COARSE = 4.0
"""In mm; the field is smooth, so it is estimated on voxels of about this size."""
NEEDS_SITK = "needs the package SimpleITK (pip install 'uadtools[sitk]')"


def n4(data: NDArray[Any], brain: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Divide a scan by its bias field, estimated inside the brain with N4 on a shrunken image.

    data, brain: (X, Y, Z). The mean brightness inside the brain stays. Voxels of the brain that are not above 0 say
    nothing about the field. One thread, so that the same scan gives the same voxels on any machine. Raises UadError
    when SimpleITK is missing or the field cannot be estimated. Source: Tustison et al. 2010; SimpleITK.
    """
    try:
        import SimpleITK as sitk  # noqa: N813  as its own documents call it
    except ImportError:
        raise UadError(f"--bias-correct {NEEDS_SITK}") from None
    usable = brain & (data > 0)
    if not usable.any():
        raise UadError("no voxel above 0 in the brain, so it has no bias field to correct (leave out --bias-correct)")
    values = data.astype(np.float32)
    scan, mask = sitk.GetImageFromArray(values), sitk.GetImageFromArray(usable.astype(np.uint8))
    spacing = grid.spacing[::-1]  # GetImageFromArray takes the last array axis for x
    factors = [max(1, min(round(COARSE / s), n // 4)) for s, n in zip(spacing, reversed(data.shape), strict=True)]
    for image in (scan, mask):
        image.SetSpacing(spacing)
    n4_filter = sitk.N4BiasFieldCorrectionImageFilter()
    n4_filter.SetNumberOfThreads(1)
    try:
        n4_filter.Execute(sitk.Shrink(scan, factors), sitk.Shrink(mask, factors))
    except RuntimeError as error:
        raise UadError(f"the bias field cannot be estimated ({last_line(error)}; leave out --bias-correct)") from None
    field = np.exp(sitk.GetArrayFromImage(n4_filter.GetLogBiasFieldAsImage(scan)))
    corrected = values / field
    corrected *= values[usable].mean(dtype=np.float64) / corrected[usable].mean(dtype=np.float64)
    return np.asarray(corrected, dtype=np.float32)


def last_line(error: RuntimeError) -> str:
    """Return the line in which SimpleITK says what is wrong."""
    return str(error).strip().splitlines()[-1].strip()
