"""A network that tells the codes of an image one after the other, and its use on the codes of an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uadtools.nets.vqvae import VQVAE

ORDERS = 8
"""Raster orders: from each of the four corners on, along rows and along columns."""


def raster_orders(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the places of a grid in each of the orders, (ORDERS, h w) int64; places count along rows.

    Each odd one is the one before it, backwards; the first four are two along rows and two along columns.
    """
    cells = torch.arange(height * width, device=device).view(height, width)
    starts = [cells, cells.T, cells.flip(1), cells.flip(1).T]
    return torch.stack([order for start in starts for order in (start.flatten(), start.flatten().flip(0))])


class Cache:
    """The keys and values of the steps that were told, by layer, so that each is computed once."""

    def __init__(self, steps: int) -> None:
        self.steps, self.told = steps, 0
        self._held: dict[int, tuple[Tensor, Tensor]] = {}

    def extended(self, layer: int, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values of the following steps, (B, heads, m, d) each, and return those of all steps so far."""
        if layer not in self._held:
            k, v = (part.new_empty(*part.shape[:2], self.steps, part.shape[3]) for part in parts)
            self._held[layer] = k, v
        until = self.told + parts[0].shape[2]
        for held, part in zip(self._held[layer], parts, strict=True):
            held[:, :, self.told : until] = part
        k, v = self._held[layer]
        return k[:, :, :until], v[:, :, :until]


class Block(nn.Module):
    """Attention to the steps before and the own one, and two layers for each step by itself; both are added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.own_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.own = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
        """Return x, (B, m, width), with what both add. layer: its place in the cache."""
        parts = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # (B, heads, m, width / heads)
        if cache is not None:
            k, v = cache.extended(layer, k, v)
        steps, before = q.shape[2], k.shape[2] - q.shape[2]
        seen = torch.ones(steps, before + steps, dtype=torch.bool, device=x.device).tril(before) if before else None
        dropped = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, seen, dropped, is_causal=seen is None)
        x = x + F.dropout(self.proj(mixed.transpose(1, 2).flatten(2)), self.dropout, self.training)
        return x + F.dropout(self.own(self.own_norm(x)), self.dropout, self.training)


class Places(nn.Module):
    """A learnt vector for each place of a grid, the sum of its row's and its column's."""

    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        self.rows, self.columns = (nn.Parameter(0.02 * torch.randn(size, width)) for size in shape)

    def forward(self) -> Tensor:
        """Return (h w, width)."""
        return (self.rows[:, None] + self.columns).flatten(0, 1)


class CodeTransformer(nn.Module):
    """Tells each code of a grid from those before it, in any of the raster orders: a decoder without an encoder.

    shape: (h, w) of the grid; codes: how many there are. Each step sees, of itself and all before it, the code before,
    where that lies, and where the code lies that is to be told; the first one sees a vector of the order in the place
    of a code. So one network learns all orders.

    Source: Pinaya et al. 2022 (Unsupervised brain imaging 3D anomaly detection and segmentation with transformers),
    which has a network for each order, and no other spatial embedding; layers as Radford et al. 2019 (GPT-2).
    """

    def __init__(
        self, shape: Sequence[int], codes: int, *, width: int, layers: int, heads: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape, self.dropout = tuple(shape), dropout
        self.start = nn.Parameter(0.02 * torch.randn(ORDERS, width))
        self.codes = nn.Embedding(codes, width)
        self.seen, self.told = Places(shape, width), Places(shape, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, codes)
        nn.init.normal_(self.codes.weight, std=0.02)

    def places(self, orders: Tensor) -> Tensor:
        """Return the places of all steps. orders: (B,) int64. Returns (B, h w)."""
        height, width = self.shape
        return raster_orders(height, width, orders.device)[orders]

    def in_order(self, values: Tensor, orders: Tensor) -> Tensor:
        """Return the values of a grid step by step. values: (B, h, w). Returns (B, h w)."""
        return values.flatten(1).gather(1, self.places(orders))

    def on_grid(self, sequence: Tensor, orders: Tensor) -> Tensor:
        """Return what was told step by step, (B, h w), on the grid, (B, h, w)."""
        grid = torch.empty_like(sequence).scatter_(1, self.places(orders), sequence)
        return grid.view(len(grid), *self.shape)

    def forward(self, sequence: Tensor, orders: Tensor, cache: Cache | None = None, until: int | None = None) -> Tensor:
        """Return the logits of each step's code from those of the steps before, (B, m, codes).

        sequence: (B, h w) int64, codes step by step, of which none is looked at from its own step on; orders: (B,).
        cache: has seen the first steps, so that only those after them are told; until: the step to stop before.
        """
        first, places = cache.told if cache else 0, self.places(orders)
        until = until or places.shape[1]
        before = slice(max(first - 1, 0), until - 1)
        shown = self.codes(sequence[:, before]) + self.seen()[places[:, before]]
        if not first:
            shown = torch.cat([self.start[orders][:, None], shown], dim=1)
        x = F.dropout(shown + self.told()[places[:, first:until]], self.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, cache)
        if cache:
            cache.told = until
        logits: Tensor = self.head(self.norm(x))
        return logits


class LatentTransformer(nn.Module):
    """A frozen autoencoder, and a transformer of its codes.

    limits: (ORDERS, h, w) how unlikely a code may be that is still healthy, at each position in each order, in nats;
    infinite where nobody knows.
    """

    def __init__(self, autoencoder: VQVAE, transformer: CodeTransformer) -> None:
        super().__init__()
        self.autoencoder, self.transformer = autoencoder.requires_grad_(False), transformer
        self.register_buffer("limits", torch.full((ORDERS, *transformer.shape), torch.inf))
        self.limits: Tensor

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of an image, (B, h, w) int64. x: (B, C, H, W) in [-1, 1]."""
        with torch.autocast(x.device.type, enabled=False):  # half precision takes another code where two are near
            return self.autoencoder.quantise(x).indices

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Return the image of codes, (B, C, H, W). codes: (B, h, w)."""
        return self.autoencoder.decode(self.autoencoder.codebook.look_up(codes))

    def forward(self, *given: Tensor) -> Tensor:
        """Tell logits, as the transformer does."""
        logits: Tensor = self.transformer(*given)
        return logits
