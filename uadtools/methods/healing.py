"""What a method gives back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from uadtools.diffusion.samplers import Step


@dataclass(frozen=True)
class Healing:
    """healed: (B, 1, H, W) in the units of [-1, 1]; maps: what else the method made, by name, of the same shape."""

    healed: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)


def end(walk: Iterable[Step]) -> Tensor:
    """Walk to the last step and return where it arrived."""
    return deque(walk, maxlen=1)[0].x_t
