"""How much of its codebook an autoencoder uses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from uadtools.nets.vqvae import VQVAE
from uadtools.training.data import Slices

MOST = 256
"""Slices that are looked at, at most."""


class Use(NamedTuple):
    """used: the share of the codes that stand for anything; perplexity: as many codes, equally often used, would tell
    as much.
    """

    used: float
    perplexity: float

    def __str__(self) -> str:
        return f"{self.used:.0%} of the codes used, perplexity {self.perplexity:.0f}"


@torch.no_grad()
def codebook_use(net: VQVAE, slices: Slices, device: torch.device) -> Use:
    """Count the codes of evenly spaced slices. Source: van den Oord et al. 2017, section 4."""
    counts = torch.zeros(len(net.codebook.codes), device=device)
    for place in np.linspace(0, len(slices) - 1, min(MOST, len(slices))).round().astype(int):
        x = slices.seen(slices.windows(np.array([place]), 0, device))
        counts += torch.bincount(net.quantise(x).indices.flatten(), minlength=len(counts))
    share = counts / counts.sum()
    entropy = -torch.xlogy(share, share).sum()
    return Use(float((counts > 0).float().mean()), float(entropy.exp()))
