"""A detection as DICOM-SEG: the series that it belongs to, and what is written of it there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from uadtools.concerns import Concern, Tell
from uadtools.dicom.segmentation import LONGEST_LABEL, Called, write_segmentation
from uadtools.dicom.series import Series, chosen
from uadtools.errors import UadError
from uadtools.volume.converters import dicom_in
from uadtools.volume.io import Image
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, fingerprint, last_by, noting, read_image


@dataclass(frozen=True)
class SourceSeries:
    """The series of DICOM that a scan came from."""

    folder: Path
    series: Series

    @classmethod
    def of(cls, folder: Path, wanted: str | None) -> SourceSeries:
        """Find it. wanted: see `dicom.series.chosen`. Raises UadError where there is none, or more than one."""
        if not (files := dicom_in(folder)):
            raise UadError(f"--dicom-seg: {folder}: no DICOM in it (name the folder of the series)")
        return cls(folder, chosen(folder, files, wanted))

    def checked(self, study: Study, tell: Tell) -> Study:
        """Return a detected study that notes, as tell gets, where its scan had other voxels than this series.

        Raises UadError where the detection does not lie as the series does.
        """
        line = last_by(study.product, "uad-preprocess")
        volume = line.get("arguments", {}).get("volume")
        scan = read_image(self.folder, Reading(volume if type(volume) is int else None, series=self.series.uid))
        if not scan.grid.same(study.product.grid):
            unlike = scan.grid.unlike(study.product.grid)
            raise UadError(f"{self.folder}: is not the series that {study.name} came from: {unlike}")
        if line.get("source") == fingerprint(scan):
            return study
        text = "lies as this series does, but was made of other voxels (is it the same scan of the same patient?)"
        concern = Concern("series", text)
        tell(str(concern.about(study.name)))
        images = study.images.items()
        return Study(study.name, {r: replace(i, provenance=i.provenance | noting(i, [concern])) for r, i in images})

    def write(self, detection: Image, path: Path, *, force: bool) -> None:
        """Write the DICOM-SEG. Raises UadError."""
        from uadtools import __version__

        withheld = "withheld" in last_by(detection, "uad-postproc").get("arguments", {})
        about = "uadtools: no detection, scan is unlike" if withheld else "uadtools: anomalies, research only"
        called = Called(about, _label(detection, __version__), __version__)
        write_segmentation(path, self.series, detection.data > 0, detection.grid, called, force=force)


def _label(detection: Image, version: str) -> str:
    """Name the segment after the model that healed the scan."""
    model = str(last_by(detection, "uad-heal").get("model", "")).partition(":")[0]
    model = "".join(c for c in model if c.isascii() and c.isprintable() and c != "\\")
    room = LONGEST_LABEL - len(f"anomaly (uadtools  {version}, research only)")
    return f"anomaly (uadtools {' '.join(filter(None, (model[:room], version)))}, research only)"
