"""Asking the model: every slice, for every t and draw, in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadtools import methods
from uadtools.diffusion.process import Prediction
from uadtools.diffusion.schedule import Schedule
from uadtools.models.model import Model
from uadtools.noise.source import SliceNoise
from uadtools.pipeline.heal import Plan, Watch
from uadtools.volume.slices import from_network, to_network

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Watched:
    """A model that tells how many slices it was asked about."""

    model: Model
    tick: Callable[[int], None]

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def encode(self, x: Tensor) -> Tensor:
        return self.model.encode(x)

    def predict(self, x_t: Tensor, t: int, *, clamp: bool = False, code: Tensor | None = None) -> Prediction:
        made = self.model.predict(x_t, t, clamp=clamp, code=code)
        self.tick(len(x_t))
        return made

    def reconstruct(self, x: Tensor) -> Tensor:
        made = self.model.reconstruct(x)
        self.tick(len(x))
        return made


def draw(  # noqa: PLR0913  one parameter per thing that decides what comes out
    model: Model,
    x: Floats,
    positions: NDArray[np.intp],
    how: Plan,
    *,
    condition: Floats | None = None,
    seed: int,
    batch: int,
    watch: Watch,
) -> Floats:
    """Heal every slice with all of the plan's options, in every draw.

    x: (S, 1, H, W) in [0, 1], one above the other, at these positions; condition: other slices to condition them on,
    shaped like x. Returns (T, K, S, 1, H, W) in [0, 1] for T options and K draws.
    """
    module = methods.get(how.method)
    shape = (x.shape[2], x.shape[3])
    total, done = how.evaluations(shape) * len(x), 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        watch(done, total)

    asked = _Watched(model, tick)
    batch = batch or (64 if model.device.type == "cuda" else 16)
    draws = np.empty((len(how.options), how.samples, *x.shape), dtype=np.float32)
    for i, options in enumerate(how.options):
        for k in range(how.samples):
            for start in range(0, len(x), batch):
                part = slice(start, start + batch)
                told = (getattr(options, "t", 0), k, *([options.patch] if hasattr(options, "patch") else []))
                keys = [(seed, int(z), *told) for z in positions[part]]
                noise = SliceNoise(model.config.noise, model.noise_shape(shape), keys, model.device)
                seen = torch.from_numpy(to_network(_windows(x, part, model.config.reach))).to(model.device)
                given: dict[str, Tensor] = {}
                if condition is not None:
                    given["condition"] = torch.from_numpy(to_network(condition[part])).to(model.device)
                healed = module.heal(asked, seen, options, noise, **given).healed
                draws[i, k, part] = from_network(healed.cpu().numpy())
    return draws


def _windows(x: Floats, part: slice, reach: int) -> Floats:
    """Return slices with `reach` neighbours on either side, (B, 2 reach + 1, H, W); the outermost are repeated."""
    chosen = np.arange(len(x))[part, None]
    windows: Floats = x[np.clip(chosen + np.arange(-reach, reach + 1), 0, len(x) - 1), 0]
    return windows
