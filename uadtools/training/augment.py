"""Random changes to healthy slices: drawn first, with NumPy, then applied to the batch on its device.

Blur, bias field, gamma and ghosting follow TorchIO (Perez-Garcia et al. 2021), of which cDDPM takes them, in two
dimensions and for a whole batch at once.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from uadtools.interface.recipe import AugmentConfig

Floats = NDArray[np.float32]

POWERS = [(i, j) for i in range(4) for j in range(4) if 0 < i + j <= 3]
"""Of x and y, in the polynomial that is the logarithm of a drifting brightness."""
KEPT = 0.02
"""The share of k-space's lines, in the middle, that ghosts leave as they are."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn for a batch, one row per slice; a row of its neutral value leaves the slice as it is.

    matrices: (B, 2, 3) from output to input in [-1, 1] coordinates; blurs: (B, 2) deviations in pixels along rows and
    columns, 0 for none; biases: (B, 9) coefficients of POWERS, 0 for none; gammas: (B,) exponents, 1 for none; ghosts:
    (B, 3) number, axis (0: up and down, 1: left and right) and how much of the lines is lost, 0 for none.
    """

    matrices: Floats
    blurs: Floats
    biases: Floats
    gammas: Floats
    ghosts: Floats

    def of(self, part: slice) -> Drawn:
        """Return what was drawn for a part of the batch."""
        return Drawn(*(getattr(self, f.name)[part] for f in fields(self)))

    def rows(self) -> list[dict[str, Any]]:
        """Say what was drawn for each slice, ready for JSON."""
        rows = {name: np.round(values.astype(float), 4).tolist() for name, values in asdict(self).items()}
        return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]


def draw(config: AugmentConfig, batch: int, shape: tuple[int, int], rng: np.random.Generator) -> Drawn:
    """Draw changes for a batch. shape: (H, W)."""

    def some(share: float) -> NDArray[np.bool_]:
        return rng.random(batch) < share

    matrices = _matrices(config, shape, some(config.flip), some(config.affine), rng)
    gammas = np.where(some(config.gamma_share), np.exp(rng.uniform(-config.gamma, config.gamma, batch)), 1)
    blurs = rng.uniform(0, config.blur_std, (batch, 2)) * some(config.blur)[:, None]
    biases = rng.uniform(-config.bias_size, config.bias_size, (batch, len(POWERS))) * some(config.bias)[:, None]
    lines = rng.integers(*config.ghosts, size=batch, endpoint=True)
    ghosts = np.stack([lines, rng.integers(2, size=batch), rng.uniform(*config.dimmed, batch)], axis=1)
    ghosts *= some(config.ghosting)[:, None]
    return Drawn(*(np.asarray(part, np.float32) for part in (matrices, blurs, biases, gammas, ghosts)))


def _matrices(
    config: AugmentConfig, shape: tuple[int, int], flip: NDArray[Any], moved: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw flips and small affines."""
    (height, width), batch = shape, len(flip)
    mirror = np.where(flip, -1.0, 1.0)
    angle = np.deg2rad(rng.uniform(-config.degrees, config.degrees, batch)) * moved
    zoom = 1 + rng.uniform(-config.scale, config.scale, batch) * moved
    shift = 2 * rng.uniform(-config.shift, config.shift, (batch, 2)) / (width, height) * moved[:, None]
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    aspect = height / width
    rows = [[cos * mirror, -sin * aspect, shift[:, 0]], [sin * mirror / aspect, cos, shift[:, 1]]]
    return np.array(rows).transpose(2, 0, 1)


def apply(x: Tensor, drawn: Drawn) -> Tensor:
    """Change a batch as drawn; slices for which nothing was drawn keep every value. x: (B, C, H, W) in [0, 1]."""
    steps = [
        (_moved, drawn.matrices, np.eye(2, 3)),
        (_blurred, drawn.blurs, np.zeros(2)),
        (_drifting, drawn.biases, np.zeros(len(POWERS))),
        (_curved, drawn.gammas, np.ones(())),
        (_ghosted, drawn.ghosts, np.zeros(3)),
    ]
    for change, values, neutral in steps:
        chosen = np.flatnonzero((values != neutral).reshape(len(values), -1).any(axis=1))
        if len(chosen):
            places = torch.from_numpy(chosen).to(x.device)
            amounts = torch.from_numpy(values[chosen]).to(x.device)
            x = x.index_copy(0, places, change(x[places], amounts).clamp(0, 1))
    return x


def apply_to_labels(labels: Tensor, drawn: Drawn) -> Tensor:
    """Move labels as `apply` does the batch they are of; each pixel has the nearest one.

    labels: (B, 1, H, W) or (B, 1, D, H, W) uint8.
    """
    slices = labels.flatten(1, -3)
    chosen = np.flatnonzero((drawn.matrices != np.eye(2, 3)).any(axis=(1, 2)))
    places = torch.from_numpy(chosen).to(labels.device)
    matrices = torch.from_numpy(drawn.matrices[chosen]).to(labels.device)
    moved = _sampled(slices[places].float(), matrices, "nearest") if len(chosen) else slices[places]
    return slices.index_copy(0, places, moved.to(labels.dtype)).view(labels.shape)


def _moved(x: Tensor, matrices: Tensor) -> Tensor:
    return _sampled(x, matrices, "bilinear")


def _sampled(x: Tensor, matrices: Tensor, mode: str) -> Tensor:
    grid = F.affine_grid(matrices, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _blurred(x: Tensor, deviations: Tensor) -> Tensor:
    """Smooth with a Gaussian of its own for each slice and axis, cut off at four deviations; borders are repeated."""
    reach = min(math.ceil(4 * float(deviations.max())), min(x.shape[2:]) - 1)
    apart = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    kernels = torch.exp(-((apart / deviations.clamp(min=1e-3)[..., None]) ** 2) / 2)
    kernels = (kernels / kernels.sum(dim=-1, keepdim=True)).repeat_interleave(x.shape[1], dim=0)  # (B C, 2, n)
    flat = x.reshape(1, -1, *x.shape[2:])
    down = F.pad(flat, (0, 0, reach, reach), mode="replicate")
    flat = F.conv2d(down, kernels[:, None, 0, :, None], groups=flat.shape[1])
    along = F.pad(flat, (reach, reach, 0, 0), mode="replicate")
    return F.conv2d(along, kernels[:, None, 1, None, :], groups=flat.shape[1]).view(x.shape)


def _drifting(x: Tensor, coefficients: Tensor) -> Tensor:
    """Multiply by exp of a polynomial of third order, and scale so that the brightest pixel stays as bright."""
    down, along = (torch.linspace(-1, 1, n, device=x.device) for n in x.shape[2:])
    terms = torch.stack([along**i * down[:, None] ** j for i, j in POWERS])
    changed = x * torch.exp(torch.einsum("bp,phw->bhw", coefficients, terms))[:, None]
    before, after = (part.amax(dim=(1, 2, 3), keepdim=True) for part in (x, changed))
    return changed * (before / after.clamp(min=1e-6))


def _curved(x: Tensor, exponents: Tensor) -> Tensor:
    return x ** exponents[:, None, None, None]


def _ghosted(x: Tensor, ghosts: Tensor) -> Tensor:
    """Dim every n-th line of k-space along one axis, but those in its middle."""
    weights = torch.ones(len(x), 1, *x.shape[2:], device=x.device)
    for weight, (count, axis, dimmed) in zip(weights, ghosts.tolist(), strict=True):
        size = x.shape[2 + int(axis)]
        line = torch.arange(size, device=x.device)
        lost = (line % int(count) == 0) & ((line - size // 2).abs() > KEPT * size / 2)
        weight.transpose(1, 1 + int(axis))[:, lost] = 1 - dimmed
    ghosted: Tensor = torch.fft.ifft2(torch.fft.fft2(x) * torch.fft.ifftshift(weights, dim=(2, 3))).abs()
    return ghosted
