"""What a restoration network answers: the healthy slice, and where it was changed."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Restored(NamedTuple):
    """x0: (B, 1, H, W) in [-1, 1], the healthy middle slices; logit: (B, 1, H, W) of "this was changed"."""

    x0: Tensor
    logit: Tensor


def restored(x: Tensor, output: Tensor) -> Restored:
    """Read a network's output, (B, 2, H, W): what is to be added to the middle slice, and the logit.

    x: (B, 2 reach + 1, H, W), what it saw. A network that answers 0 leaves the slice as it is.
    """
    output = output.float()
    middle = x.shape[1] // 2
    return Restored(x[:, middle : middle + 1] + output[:, :1], output[:, 1:])
