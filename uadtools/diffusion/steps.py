"""Which steps a walk back asks a model at. No torch here: settings say them, too."""

from __future__ import annotations

import numpy as np


def spaced(t: int, steps: int) -> list[int]:
    """Spread evaluations evenly from t down to the clean image: t first, steps in all; steps = t + 1 visits every t.

    Every second of twice as many are these.
    """
    if not 1 <= steps <= t + 1:
        raise ValueError(f"from t = {t} there are 1 to {t + 1} steps, not {steps}")
    return [round(float(s)) for s in np.linspace(t, -1, steps + 1)[:-1]]
