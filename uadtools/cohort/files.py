"""Reading and writing images for Python users."""

from __future__ import annotations

from uadtools.volume.io import save
from uadtools.volume.stream import read_image as read

__all__ = ["read", "save"]
