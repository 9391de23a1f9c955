"""A mask written as DICOM-SEG, which a PACS shows on the series that it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadtools.dicom.series import NEEDS, Series, place_of, read_header, untold
from uadtools.errors import UadError
from uadtools.files import written
from uadtools.grids.grid import Grid, nearest

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LONGEST_LABEL = 64
"""Characters of a name in DICOM."""
SERIES_NUMBER = 9900
"""Behind those that scanners give."""
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAY_LACK = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator", "Manufacturer",
)  # fmt: skip
"""What has to be in a DICOM-SEG, be it empty, and what those who take names away often take away whole."""


@dataclass(frozen=True)
class Called:
    """Names in a DICOM-SEG: of its series, of its only segment, and the version of what made it."""

    series: str
    segment: str
    version: str


@untold()
def write_segmentation(
    path: Path, series: Series, mask: NDArray[np.bool_], grid: Grid, called: Called, *, force: bool
) -> None:
    """Write a mask (X, Y, Z) on the grid of a series as BINARY DICOM-SEG with one frame per slice, empty ones, too.

    Raises UadError where the grid is another, where highdicom cannot make one for such a series, and as `files.written`
    does.
    """
    try:
        import highdicom
    except ImportError:
        raise UadError(f"{path}: DICOM {NEEDS}") from None
    headers = [read_header(file) for file in series.files]
    for header, tag in product(headers, _MAY_LACK):
        if tag not in header:
            setattr(header, tag, "")
    try:
        there = _grid(headers)
        if not _same_voxels(grid, there):
            raise UadError(f"{path}: the series has other voxels than NIfTI made of it, so no DICOM-SEG fits it")
        made = highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=highdicom.Volume(
                np.ascontiguousarray(nearest(mask, grid, there).transpose(2, 1, 0).astype(np.uint8)),
                (LPS @ there.affine)[:, [2, 1, 0, 3]],
                coordinate_system="PATIENT",
                frame_of_reference_uid=headers[0].FrameOfReferenceUID,
            ),
            segmentation_type="BINARY",
            segment_descriptions=[_segment(called)],
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="uadtools",
            manufacturer_model_name="uadtools",
            software_versions=called.version,
            device_serial_number="0",
            series_description=called.series[:LONGEST_LABEL],
            omit_empty_frames=False,
        )
    except UadError:
        raise
    except Exception as error:  # what is wrong with a header makes highdicom raise whatever its parts do
        why = " ".join(str(error).split())
        raise UadError(f"{path}: highdicom cannot make a DICOM-SEG for this series ({why})") from None
    with written(path, force=force) as part:
        made.save_as(part)


def _segment(called: Called) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=called.segment,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="uadtools", family=codes.DCM.ArtificialIntelligence, version=called.version
        ),
    )


def _grid(headers: Sequence[Dataset]) -> Grid:
    """Return where the voxels (columns, rows, slices) of a series lie. Raises what a lack in a header does."""
    if "PerFrameFunctionalGroupsSequence" in headers[0]:
        import highdicom

        volume = highdicom.Image.from_dataset(headers[0], copy=False).get_volume_geometry()
        if volume is None:
            raise ValueError("its frames are no volume")
        slices, rows, columns = volume.spatial_shape
        return Grid((columns, rows, slices), LPS @ volume.affine[:, [2, 1, 0, 3]])
    places = [place for header in headers if (place := place_of(header)) is not None]
    across, down = places[0][:3], places[0][3:6]
    normal = np.cross(across, down)
    positions = {round(float(place[6:] @ normal), 3): place[6:] for place in places}
    first, last = positions[min(positions)], positions[max(positions)]
    apart = headers[0].get("SpacingBetweenSlices") or headers[0].get("SliceThickness") or 1.0
    step = (last - first) / (len(positions) - 1) if len(positions) > 1 else normal * float(apart)
    size_down, size_across = (float(size) for size in headers[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack([across * size_across, down * size_down, step, first])
    return Grid((int(headers[0].Columns), int(headers[0].Rows), len(positions)), LPS @ affine)


def _same_voxels(grid: Grid, other: Grid) -> bool:
    """Tell whether two grids have the same voxels, in whatever order of axes."""
    mapping = np.round(np.linalg.inv(grid.affine) @ other.affine)
    shape = np.abs(mapping[:3, :3]) @ other.shape
    return bool((shape == grid.shape).all()) and Grid(other.shape, grid.affine @ mapping).same(other)
