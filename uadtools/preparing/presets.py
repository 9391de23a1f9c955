"""How the papers prepared their scans, as far as they say."""

from __future__ import annotations

from uadtools.errors import UadError
from uadtools.models.config import GridConfig, IntensityConfig
from uadtools.preparing.preprocess import Way

_BEHRENDT = Way(
    grid=GridConfig(shape=(96, 96, 50), spacing=(2.0, 2.0, 2.0)),
    intensity=IntensityConfig(kind="percentile", low=1, high=99),
    brain="hd-bet",
    bias_correct=True,
    order=("register", "brain", "bias"),
)
LIKE = {
    # T2; registered to SRI24, HD-BET, 192x192x160 voxels of 1 mm, N4, halved, 15 slices off the top and the bottom
    "pddpm": _BEHRENDT,
    # the same, resampled to 1 mm first; here everything is resampled once
    "cddpm": _BEHRENDT,
    # T1, skull-stripped, 256x256 pixels, the middle 60 slices or so; ours keeps 1 mm where the paper stretches
    "sss": Way(grid=GridConfig(shape=(256, 256, 60), spacing=(1.0, 1.0, 1.0))),
    # the HeadCT images, 64x64, as they are; the text says nothing of how its MRI scans were prepared
    "ldm": Way(
        grid=GridConfig(shape=(64, 64, 1), spacing=(1.0, 1.0, 1.0)),
        intensity=IntensityConfig(kind="none"),
        brain="none",
    ),
}
"""Sources: Behrendt et al. 2023 (pDDPM, section 4.1; cDDPM, section 4.2), Damudi & Kini 2024 (section 3.1), Pinaya et
al. 2022 (section 4.1)."""
NEEDS_TEMPLATE = ("pddpm", "cddpm")


def like(name: str) -> Way:
    """Return a paper's way. Raises UadError for an unknown name."""
    if name not in LIKE:
        raise UadError(f"--like {name}: there are {', '.join(LIKE)}")
    return LIKE[name]
