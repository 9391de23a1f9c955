"""uad-heal --adapt: a model is fitted to a scan before it heals it, where the scan looks as the model expects.

What is fitted is a curve of intensities, by which the model sees the scan, and, where all is, the scales and shifts of
the network's normalisation layers. Both are few, and are fitted where the first healing left the scan much as it was,
so that they take up how the scan's contrast differs from what was learnt, and not its lesions. Source: Bercea et al.
2024 (survey), section 6.3, names the question; the answer is ours, after Wang et al. 2021 (Tent: normalisation layers).
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from uadtools import methods
from uadtools.healing.batches import HealedSlices, ScanSlices, Seen, heal_slices
from uadtools.healing.plan import Plan, Watch
from uadtools.models.model import Model

PARTS, STEEPEST = 8, 3.0
"""Straight parts of the curve, and the most that one may rise, in times of another."""
STEPS, BATCH = 30, 8
"""Of fitting, and slices in each."""
CURVE_RATE, LAYER_RATE = 0.03, 1e-3
"""Learning rates of Adam."""
SHARE, WINDOW = 0.75, 3
"""Of the brain's voxels, those with the lowest residual are fitted on; of the median filter on it before, in pixels."""
NORMS = (nn.GroupNorm, nn.BatchNorm2d)
"""Layers whose scales and shifts are fitted."""


class Fit(NamedTuple):
    """What came of it. model: fitted; knots: (PARTS + 1,) where the curve leads, in [0, 1]."""

    model: Model
    knots: NDArray[np.float64]


class Curve(nn.Module):
    """A rising curve of intensities in [-1, 1], of straight parts, both ends fixed; it begins as none."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.zeros(PARTS))

    @property
    def knots(self) -> Tensor:
        """Where the ends of the parts lead, (PARTS + 1,), from -1 to 1."""
        rises = 2 * (math.log(STEEPEST) / 2 * self.steepness.tanh()).softmax(dim=0)
        return torch.cat([rises.new_full((1,), -1), rises.cumsum(dim=0) - 1])

    def forward(self, x: Tensor) -> Tensor:
        return _led(x, _even(x), self.knots)

    def back(self, y: Tensor) -> Tensor:
        """Return what leads to y."""
        return _led(y, self.knots, _even(y))


def _even(like: Tensor) -> Tensor:
    return torch.linspace(-1, 1, PARTS + 1, device=like.device)


def _led(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Follow the straight parts from start to end; beyond them, the first and the last one."""
    part = torch.bucketize(x.detach(), start.detach()[1:-1].contiguous())
    slope = (end.diff() / start.diff())[part]
    return end[part] + (x - start[part]) * slope


def heal_adapted(
    model: Model, scan: ScanSlices, plan: Plan, *, seed: int, batch: int, watch: Watch
) -> tuple[HealedSlices, dict[str, Any]]:
    """Heal a scan, fit the model to it, and heal it again; returns its slices, and what is to be noted of the fit.

    That is the curve, in [0, 1], and the mean residual before and after, where it was fitted.
    """
    work, steps = plan.evaluations(scan.x.shape[-2:]) * len(scan.x), 3 * STEPS * BATCH
    total = 2 * work + steps

    def part(before: int) -> Watch:
        return lambda done, _: watch(before + done, total)

    (first,) = heal_slices(model, [scan], plan, seed=seed, batch=batch, watch=part(0))
    fit = fitted(model, scan, first, plan, seed=seed, watch=part(work))
    seen = replace(scan, x=_curved(scan.x, fit.knots))
    (healed,) = heal_slices(fit.model, [seen], plan, seed=seed, batch=batch, watch=part(work + steps))
    healed = replace(healed, x=_curved(healed.x, fit.knots, back=True))
    usual, residuals = usual_voxels(scan.x, _mean(first)), [np.abs(scan.x - _mean(one)) for one in (first, healed)]
    notes = {
        "curve": [round(float(knot), 4) for knot in fit.knots],
        "residual": [round(float(residual[usual].mean()), 5) for residual in residuals],
    }
    return healed, notes


def fitted(
    model: Model, scan: ScanSlices, first: HealedSlices, plan: Plan, *, seed: int = 0, watch: Watch = lambda *_: None
) -> Fit:
    """Fit the curve, or layers, too, to a scan, so that less is left where the first healing left little.

    The residual is taken behind the curve, in the scan's own intensities, so that nothing is won by a flat one. model:
    stays as it is; the fitted one computes in float32. What is drawn hangs on seed alone.
    """
    rng, curve, own = np.random.default_rng(seed), Curve().to(model.device), _own(model)
    chosen = [layer for layer in own.net.modules() if plan.adapt == "all" and isinstance(layer, NORMS) and layer.affine]
    layers = [weight.requires_grad_() for layer in chosen for weight in layer.parameters()]
    optimiser = torch.optim.Adam(
        [{"params": [curve.steepness], "lr": CURVE_RATE}, {"params": layers, "lr": LAYER_RATE}]
    )
    usual = torch.from_numpy(usual_voxels(scan.x, _mean(first))).to(model.device)
    seen, options = Seen.of(own, [scan]), plan.options[0]
    for step in range(STEPS):
        places = np.sort(rng.permutation(len(scan.x))[:BATCH])
        noise = own.noise(scan.x.shape[2:], [(seed, step, int(z), 0) for z in scan.positions[places]])
        (x, given), within = seen.tensors(places), usual[places]
        middle = x.shape[1] // 2
        with torch.enable_grad():
            healed = methods.get(plan.method).heal(own, curve(x), options, noise, **given).healed
            away = (curve.back(healed) - x[:, middle : middle + 1]).abs()
            loss = (away * within).sum() / within.sum().clamp(min=1)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
        optimiser.step()
        watch(3 * BATCH * (step + 1), 0)
    own.net.requires_grad_(False)
    return Fit(own, (curve.knots.detach().double().cpu().numpy() + 1) / 2)


def usual_voxels(x: NDArray[np.float32], healed: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell where a scan was left much as it was: the SHARE of its brain that changed least. x: (S, 1, H, W)."""
    brain = x > 0
    away = ndimage.median_filter(np.abs(x - healed), (1, 1, WINDOW, WINDOW))
    return np.asarray(brain & (away <= np.quantile(away[brain], SHARE)))


def _mean(healed: HealedSlices) -> NDArray[np.float32]:
    """Return the mean over options and draws, (S, 1, H, W)."""
    return np.asarray(healed.x.mean(axis=(0, 1)))


def _own(model: Model) -> Model:
    """Copy a model to be changed, in float32."""
    return replace(model, net=deepcopy(model.net).float(), precision=torch.float32, asked=lambda count: None)


def _curved(x: NDArray[np.float32], knots: NDArray[np.float64], *, back: bool = False) -> NDArray[np.float32]:
    """Lead intensities in [0, 1] along the curve, or back; what is 0, and so no brain, stays."""
    start, end = np.linspace(0, 1, len(knots)), knots
    return np.interp(x, *((end, start) if back else (start, end))).astype(np.float32)
