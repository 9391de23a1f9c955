"""The other contrasts of scans: in which files they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uadtools.concerns import silent
from uadtools.datasets.layouts import Found, layout_of
from uadtools.datasets.sources import study_beside
from uadtools.errors import Misuse, UadError
from uadtools.volume.io import SUFFIXES, Image, stem
from uadtools.volume.reading import Reading
from uadtools.volume.roles import in_channel
from uadtools.volume.stream import Study

NAME = re.compile("[A-Za-z0-9]{1,8}")


@dataclass(frozen=True)
class Channels:
    """Where other contrasts are, by name: a file, or a folder in which files are called as the scans; of a data set,
    the suffix that they have in the place of the scan's. others: of each scan of a layout, the files of its contrasts.
    """

    places: Mapping[str, str]
    suffix: str = ""
    others: Mapping[str, Mapping[str, Path]] | None = None

    @classmethod
    def of(cls, given: Sequence[str], *, several: bool, suffix: str = "", align: bool = False) -> Channels:
        """Understand words such as FLAIR=flair.nii.gz, or of a data set FLAIR, or T2=T2w. suffix: of its scans.

        align: they are to be registered. Raises Misuse for other words, for one file where there are several scans, and
        where there is nothing to register.
        """
        if align and not given:
            raise Misuse("--align: registers other contrasts to the scan, and none is named (--channel NAME=FILE)")
        places: dict[str, str] = {}
        for word in given:
            name, _, place = word.partition("=")
            place = place or (name if suffix else "")
            if not NAME.fullmatch(name) or not place or (suffix and not place.isalnum()):
                wanted = "NAME, or NAME=SUFFIX" if suffix else "NAME=FILE, or NAME=DIR"
                raise Misuse(f"--channel {word}: expected {wanted}, NAME of up to 8 letters and digits, such as FLAIR")
            if several and not suffix and not Path(place).is_dir():
                raise Misuse(f"--channel {word}: is one file, and there are several scans (name a folder of them)")
            if name in places:
                raise Misuse(f"--channel {word}: {name} is named twice (leave one out)")
            places[name] = place
        return cls(places, suffix)

    def of_layout(self, layout: str, root: str, found: Sequence[Found]) -> Channels:
        """Return those of the scans that were found in a data set of this layout. Raises UadError where nobody has."""
        wanted = [*self.places.values()]
        return replace(self, others=layout_of(layout).others(found, Path(root), wanted)) if wanted else self

    def read(self, raw: Study, source: str, reading: Reading) -> dict[str, Image]:
        """Read the other contrasts of a scan, and take those that its stream has. Raises UadError for a missing one.

        reading: of the scan's file, of which what is said of NaN and geometry is meant of all.
        """
        self.check(source)
        known = {name: raw.images[in_channel("scan", name)] for name in raw.channels if name}
        files = {name: self._path(name, Path(source)) for name in self.places}
        own = Reading(geometry=reading.geometry, nan=reading.nan, surrounded=True)
        return known | {name: study_beside(file, own, silent).product for name, file in files.items()}

    def words(self, source: str) -> list[str]:
        """Name the files of a scan's other contrasts, as --channel takes them for that scan alone."""
        return [f"{name}={self._path(name, Path(source))}" for name in self.places]

    def check(self, source: str) -> None:
        """Raise UadError where one of a scan's other contrasts is missing."""
        for name in self.places:
            if not (path := self._path(name, Path(source))).exists():
                raise UadError(
                    f"{path}: not there, where --channel {name} should be (leave the scan out, or the channel)"
                )

    def _path(self, name: str, scan: Path) -> Path:
        """Return the file in which a scan's other contrast is."""
        place = self.places[name]
        if self.others is not None:
            return self.others[str(scan)].get(place, scan.with_name(f"{place} of {scan.name}"))
        if not self.suffix:
            return Path(place) / scan.name if Path(place).is_dir() else Path(place)
        bare = stem(scan).removesuffix(f"_{self.suffix}")
        paths = [scan.with_name(f"{bare}_{place}{end}") for end in SUFFIXES]
        return next((path for path in paths if path.exists()), paths[0])
