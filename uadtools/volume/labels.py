"""What an image is by its voxels: a mask, labels or other numbers, and which of its voxels are meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Concern
from uadtools.errors import Misuse, UadError
from uadtools.volume.io import Image
from uadtools.volume.roles import INPUTS, require_role

MOST_LABELS = 256
"""A label image has no more values than this; a scan has."""
ROUNDING = 1e-6
"""Of the largest value: what a scl_slope and a scl_inter of 32 bits may add to a whole number."""
LESION, IGNORED = 1, 2
"""Of lesion masks as `read_labels` makes them; voxels that are ignored count neither way."""
SCAN_LIKE = 0.3
"""Median over 99.5th percentile of what is above 0: of scans about a half, of score maps a tenth."""
MOST_GREY = 32
"""A mask has no more labels than this that is not perhaps a scan of 8 bits."""
LARGE = 1000
"""Scores in units of intensity, and of healthy spread, are smaller."""
_READ = "labels_read"
"""In the provenance of an image with IGNORED voxels, which is not to be read as it was before."""
Labels = NDArray[np.uint8]
_LISTED = 6


@dataclass(frozen=True)
class Choice:
    """Which labels count as lesion, and which count neither way; none: by the image (see `read_labels`)."""

    label: Sequence[int] = ()
    ignore: Sequence[int] = ()

    def __post_init__(self) -> None:
        if both := {*self.label} & {*self.ignore}:
            raise Misuse(f"--ignore: {min(both)} counts as lesion, too (leave it out of --label or --ignore)")


BY_THEMSELVES = Choice()


def whole(data: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return the labels of a mask or a label image: whole numbers, of few values; None for other numbers.

    Numbers that a scl_slope of 32 bits rounded are whole: 1 that is read as 1.00000006.
    """
    if data.dtype.kind == "f":
        most = float(np.abs(data).max(initial=0))
        rounded = np.rint(data)
        if not most < 2**31 or (np.abs(data - rounded) > min(ROUNDING * most, 1e-3)).any():
            return None
        data = rounded
    numbers = data.astype(np.int64)
    return numbers if len(_values(numbers)) < MOST_LABELS else None


def is_labels(data: NDArray[Any]) -> bool:
    """Tell whether an image is a mask or a label image by its values, as other programs write them without a role."""
    return whole(data) is not None


def read_labels(image: Image, wanted: str, name: str, choice: Choice = BY_THEMSELVES) -> tuple[Image, list[Concern]]:
    """Make a mask of a mask, a label image or probabilities: uint8, LESION, IGNORED and 0; and tell what is a guess.

    wanted: a key of roles.INPUTS. A mask is what is not 0, whatever its value. Of several labels all count, but of a
    lesion mask with the labels 1 and 2 the second is ignored, as the WMH challenge has it; choice decides otherwise,
    but of a prediction only where it has several labels. Numbers from 0 to 1 are probabilities, and count above 0.5.
    Raises UadError for an image of another role, and for other numbers.
    """
    require_role(image, wanted, name)
    if image.provenance.get(_READ):
        return image, []
    labels = whole(image.data)
    if labels is None:
        return _of_numbers(image, name)
    values = _values(labels)
    if wanted == "prediction" and len(values) == 1:
        choice = BY_THEMSELVES
    lesion, ignore = set(choice.label), set(choice.ignore)
    if wanted == "truth" and values == (1, 2) and choice == BY_THEMSELVES:
        ignore = {2}
    lesion = lesion or set(values) - ignore
    made = np.where(np.isin(labels, [*lesion]), LESION, np.where(np.isin(labels, [*ignore]), IGNORED, 0))
    guesses = []
    if choice == BY_THEMSELVES and values not in ((), (1,)):
        guesses = _guesses(values, sorted(ignore), name)
    elif values and not (lesion | ignore) & set(values):
        listed = f"{name}: has none of the labels chosen, only {_listed(values)}"
        guesses = [Concern("labels", listed, ",".join(map(str, values)))]
    read = image.derive(made.astype(np.uint8), image.role)
    return replace(read, provenance=read.provenance | {_READ: True} if ignore else read.provenance), guesses


def looks_unlike(image: Image, wanted: str, name: str) -> list[Concern]:
    """Check the role of a scan or a score map, and tell where a plain image does not look like one.

    Raises UadError for an image of another role.
    """
    require_role(image, wanted, name)
    if image.role != "scan" or image.provenance.get("history"):
        return []
    what, labels = INPUTS[wanted].what, whole(image.data)
    if wanted != "prediction" and labels is not None and len(_values(labels)) == 1 and (labels == 0).any():
        return [Concern("looks-unlike", f"looks like a mask, not like {what} (is it the right file?)", "mask")]
    if wanted in ("score", "prediction") and _looks_like_scan(image.data, labels):
        return [Concern("looks-unlike", f"looks like a scan, not like {what} (is it the right file?)", "scan")]
    return []


def _looks_like_scan(data: NDArray[Any], labels: NDArray[np.int64] | None) -> bool:
    """Tell by whole numbers of many values, by large ones, and by how much of the brain is bright."""
    if labels is not None:
        return len(_values(labels)) > MOST_GREY
    positive = data[data > 0]
    if not positive.size:
        return False
    middle, high = np.quantile(positive, (0.5, 0.995))
    return bool(data.dtype.kind != "f" or high > LARGE or SCAN_LIKE * high < middle < 0.99 * high)


def _of_numbers(image: Image, name: str) -> tuple[Image, list[Concern]]:
    values = np.unique(image.data)
    mask = image.data > 0.5
    if len(values) == 2 and values[0] == 0:  # a mask of one value, such as 0.5
        mask = image.data != 0
        told = f"{name}: a mask of the value {values[1]:g}, all of which counts"
    elif values[0] >= 0 and values[-1] <= 1 + ROUNDING:
        told = f"{name}: holds numbers from 0 to 1, read as probabilities: what is above 0.5 counts"
    elif len(values) > MOST_LABELS:
        raise UadError(f"{name}: holds more than {MOST_LABELS} different values, so it is no mask (is it the scan?)")
    else:
        raise UadError(f"{name}: holds {values[0]:g} to {values[-1]:g}, not labels, so it is no mask (is it the scan?)")
    return image.derive(mask.astype(np.uint8), image.role), [Concern("labels", told, f"{values[-1]:g}")]


def _guesses(values: Sequence[int], ignored: Sequence[int], name: str) -> list[Concern]:
    """Say how labels are read that nobody explained; value: which there are."""
    if len(values) == 1:
        told = f"a mask of the value {values[0]}, all of which counts"
    elif ignored:
        rest = [value for value in values if value not in ignored]
        told = f"holds the labels {_listed(values)}: {_listed(rest)} counts as lesion, {_listed(ignored)} neither way"
        told += " (--label and --ignore choose)"
    else:
        told = f"holds the labels {_listed(values)}, and all of them count (--label chooses)"
    return [Concern("labels", f"{name}: {told}", ",".join(map(str, values)))]


def _listed(values: Sequence[int]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= _LISTED else [*shown[: _LISTED - 2], "...", shown[-1]])


def _values(labels: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the values that are not 0, at most MOST_LABELS of them."""
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if high - low < 1 << 20:
        found = np.flatnonzero(np.bincount((labels - low).ravel(), minlength=high - low + 1)) + low
    else:
        found = np.unique(labels)
    return tuple(int(value) for value in found[found != 0][:MOST_LABELS])
