"""Simplex noise where the network is: the same sum as noise.simplex, as one sparse product in float32 on a device."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
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
    """Shuffle 0..255 once per seed, as noise.simplex.permutations does. seeds: (B,) int64. Returns (B, 256).

    There, place i = 255, 254, ... 0 takes what lies at place p(i) <= i of the source, and leaves there what lay at i.
    Here all places are settled at once. What lies at v when it is i's turn came from the last n > i with p(n) = v, and
    was what lay at n; where there is no such n, it is v itself. Following these links, in strides that double, ends at
    such a v.
    """
    factors, steps = (part.to(seeds.device) for part in _jumps())
    places = torch.arange(256, device=seeds.device)
    picked = torch.remainder(seeds[:, None] * factors + steps + 31, places + 1)

    def link(wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return the n that left at `wanted` (B, 256) what lies there in each place's turn, and if there is one."""
        left = (picked[:, None] == wanted[..., None]) & (places > places[:, None])
        return left.byte().argmax(dim=2), left.any(dim=2)

    n, any_n = link(places.expand_as(picked))
    origin = torch.where(any_n, n, places)
    for _ in range(8):
        origin = origin.gather(1, origin)
    n, any_n = link(picked)
    return torch.where(any_n, origin.gather(1, n), picked)


@lru_cache(maxsize=1)
def _jumps() -> tuple[Tensor, Tensor]:
    """Return f and s (256,) such that the generator's number for place i is seed * f[i] + s[i]."""
    factor, step, states = 1, 0, []
    for _ in range(259):
        factor, step = factor * FACTOR % 2**64, (step * FACTOR + INCREMENT) % 2**64
        states.append((factor, step))
    numbers = np.array(states[:2:-1], dtype=np.uint64).astype(np.int64)
    return torch.from_numpy(numbers[:, 0].copy()), torch.from_numpy(numbers[:, 1].copy())


@lru_cache(maxsize=4)
def _prepared(
    shape: tuple[int, int], octaves: int, persistence: float, frequency: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights (P, 2 L), the lattice points (L, 2) and the gradients (8, 2), on the device."""
    lattice = octaves_of(shape, octaves, persistence, frequency, None)
    parts = (torch.from_numpy(part) for part in (lattice.weights.indptr, lattice.weights.indices, lattice.weights.data))
    rows, columns, values = parts
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*beta state")
        weights = torch.sparse_csr_tensor(
            rows, columns, values.float(), lattice.weights.shape, device=device, check_invariants=True
        )
    return weights, torch.from_numpy(lattice.corners).to(device), torch.from_numpy(GRADIENTS_2D).float().to(device)
