"""What the history of an image tells of uad-simulate."""

from __future__ import annotations

import math
from typing import Any

from uadtools.volume.io import Image
from uadtools.volume.stream import lines_by

LESIONS = ("blobs", "masks", "cavities", "sprites", "glioma")
"""The kinds whose truth is not empty."""


def drawn_lesions(image: Image) -> bool:
    """Tell whether its history says that uad-simulate drew lesions into the scan."""
    return any(arguments.get("kind") in LESIONS for arguments in _simulated(image))


def contrast_level(image: Image) -> float | None:
    """Return the power that uad-simulate raised the scan's intensities to; None where its history tells of none."""
    levels = [arguments.get("level") for arguments in _simulated(image) if arguments.get("kind") == "contrast"]
    powers = [level for level in levels if isinstance(level, int | float)]
    return math.prod(powers) if powers else None


def _simulated(image: Image) -> list[dict[str, Any]]:
    return [dict(line.get("arguments", {})) for line in lines_by(image, "uad-simulate")]
