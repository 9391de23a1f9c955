"""What a tool says against its own result: a stable code for scripts, a line for people, and the value behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

Tell = Callable[[str], None]
"""Gets a line for the user."""
SHOWN = 3
"""Concerns of one code that are told one by one."""
CODES = {
    "geometry": "sform and qform of the file lie apart, or one makes no sense; mm at most",
    "orientation": "the file has voxel sizes alone, so left and right are a guess",
    "sheared": "the axes of the scan are not at right angles; degrees",
    "brain-size": "the brain is larger or smaller than those of adults; mL",
    "brain-cut-by-scan": "the brain touches the border of the scan; cm2",
    "brain-cut-by-grid": "a part of the brain lies outside the model's grid; share",
    "intensity-window": "most of the brain lies outside the window of intensities; share",
    "registration": "scan and template hardly overlap; Dice",
    "unlike": "the scan is unlike the healthy scans that the model learnt from; times what is usual",
    "labels": "a mask is not of 0 and 1, and how it is read is a guess; its labels",
    "looks-unlike": "an image that does not say what it is looks like something else; what",
    "pairs": "predictions and truths go together by order, and their names do not; the number of such pairs",
    "person": "scans are named as of one person who is among the healthy and the sick ones; how many",
    "channel": "another contrast does not fit the scan; how much better it fits than moved aside",
    "unseen": "a contrast beside the scan is not looked at by the model; which",
    "twice": "two inputs of one kind have the same voxels; the number of those that came before",
    "volume-far-off": "many times the volume of the lesions is detected; times",
    "lesions-in-one": "one detected component reaches many lesions; how many",
    "threshold": "the model knows no threshold for these scores, and Otsu's is taken; the threshold",
    "series": "the DICOM-SEG refers to a series of other voxels than the scan was made of",
    "other": "said by another version of these tools",
}
"""Every code that there is: what it means, and what its value is. docs/concerns.md lists the same."""


@dataclass(frozen=True)
class Concern:
    """One thing that speaks against a result.

    code: of CODES, the same in all versions. text: one line for people. value: what was measured, as the code says.
    Raises ValueError for a code that is none.
    """

    code: str
    text: str
    value: float | str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"'{self.code}' is no code of a concern")

    def __str__(self) -> str:
        return self.text

    def about(self, name: str) -> Concern:
        """Say which of several scans it is about."""
        return replace(self, text=f"{name}: {self.text}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_concerns(data: object) -> list[Concern]:
    """Read what to_json made, and bare lines as versions before wrote them; what is neither is left out."""
    return [concern for row in data if (concern := _read(row))] if isinstance(data, list) else []


def united(*several: Iterable[Concern]) -> list[Concern]:
    """Put lists of concerns together; what is said twice is there once, the first first."""
    return list(dict.fromkeys(concern for concerns in several for concern in concerns))


def told(*several: Iterable[Concern]) -> list[dict[str, Any]]:
    """Put lists of concerns together for JSON."""
    return [concern.to_json() for concern in united(*several)]


def tell_concerns(concerns: Sequence[Concern], tell: Tell) -> None:
    """Tell of concerns; of many of one code the first few, and how many more there are."""
    for code in dict.fromkeys(concern.code for concern in concerns):
        alike = [str(concern) for concern in concerns if concern.code == code]
        for text in alike[:SHOWN]:
            tell(text)
        if more := len(alike) - SHOWN if len(alike) > SHOWN else 0:
            tell(f"{code}: {more} more of these (--json lists all)")


def _read(row: object) -> Concern | None:
    if isinstance(row, str):
        return Concern("other", row)
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        return None
    code, value = row.get("code"), row.get("value")
    known = isinstance(code, str) and code in CODES
    plain = isinstance(value, int | float | str) and not isinstance(value, bool)
    return Concern(str(code) if known else "other", row["text"], value if plain else None)


def silent(text: str) -> None:
    """Tell nobody."""
