"""Where chance comes from: a generator of its own for every scan, kind and copy."""

from __future__ import annotations

from zlib import crc32

import numpy as np

KEYS = (
    "dark blobs", "bright blobs", "dark masks", "bright masks", "both blobs", "both masks", "sprites", "coarse",
    "motion", "ghost", "bias", "contrast", "cavities", "blur", "thick", "shift",
    "dark glioma", "bright glioma", "both glioma", "crop",
)  # fmt: skip
"""What is drawn. The place in this list is a part of the seed, so that what is new comes last."""


def generator(seed: int, name: str, what: str, copy: int = 0) -> np.random.Generator:
    """Return the generator that draws one of KEYS into the scan of this name; copy: which of several draws."""
    return np.random.default_rng((seed, crc32(name.encode()), KEYS.index(what), copy))
