"""What a restoration network answers: the healthy slice, and where it was changed."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from uadtools.nets.layout import middle


class Restored(NamedTuple):
    """x0: (B, C, H, W) in [-1, 1], the healthy middle slices; logit: (B, 1, H, W) of "this was changed"."""

    x0: Tensor
    logit: Tensor


def restored(x: Tensor, output: Tensor) -> Restored:
    """Read a network's output, (B, C + 1, H, W): what is to be added to the middle slices, and the logit.

    x: (B, C (2 reach + 1), H, W), what it saw. A network that answers 0 leaves the slices as they are.
    """
    change, logit = output.float().tensor_split([-1], dim=1)
    return Restored(middle(x, change.shape[1]) + change, logit)
