"""Simplex noise where the network is: the same sum as noise.simplex, as one sparse product in float32 on a device."""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from uadtools.noise.simplex import FACTOR, GRADIENTS_2D, INCREMENT, octaves_of


def simplex_on(
    shape: tuple[int, int],
    seeds: Tensor,
    *,
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 2.0**-6,
    unit: bool = False,
) -> Tensor:
    """Return the fields of noise.simplex.simplex_fields to 1e-4, on the device of the seeds.

    shape: (H, W); seeds: (B,) int64. Returns (B, H, W) float32. What does not depend on the seeds is brought to the
    device once.
    """
    weights, corners, gradients = _prepared(shape, octaves, persistence, frequency, seeds.device)
    table = permutations_on(seeds)
    hashed = table.gather(1, (table[:, corners[:, 0]] + corners[:, 1]) & 255)
    drawn = gradients[(hashed & 14) >> 1]  # (B, L, 2)
    fields: Tensor = torch.sparse.mm(weights, drawn.flatten(1).T.contiguous()).T
    if unit:
        fields = (fields - fields.mean(dim=1, keepdim=True)) / fields.std(dim=1, keepdim=True, correction=0)
    return fields.reshape(len(seeds), *shape).contiguous()


def permutations_on(seeds: Tensor) -> Tensor:
    """Shuffle 0..255 once per seed, as noise.simplex.permutations does. seeds: (B,) int64. Returns (B, 256)."""
    state = seeds
    for _ in range(3):
        state = state * FACTOR + INCREMENT
    source = torch.arange(256, device=seeds.device).repeat(len(seeds), 1)
    table = torch.empty_like(source)
    for i in range(255, -1, -1):
        state = state * FACTOR + INCREMENT
        pick = torch.remainder(state + 31, i + 1)[:, None]
        table[:, i] = source.gather(1, pick)[:, 0]
        source.scatter_(1, pick, source[:, i : i + 1].clone())
    return table


@lru_cache(maxsize=4)
def _prepared(
    shape: tuple[int, int], octaves: int, persistence: float, frequency: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights (P, 2 L), the lattice points (L, 2) and the gradients (8, 2), on the device."""
    found = octaves_of(shape, octaves, persistence, frequency, None)
    parts = (torch.from_numpy(part) for part in (found.weights.indptr, found.weights.indices, found.weights.data))
    rows, columns, values = parts
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*beta state")
        weights = torch.sparse_csr_tensor(
            rows, columns, values.float(), found.weights.shape, device=device, check_invariants=True
        )
    return weights, torch.from_numpy(found.corners).to(device), torch.from_numpy(GRADIENTS_2D).float().to(device)
