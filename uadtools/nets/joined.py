"""What a frozen network of restoration makes of a scan, and a network that reads lesions from both."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from uadtools.nets.layout import apart, middle
from uadtools.nets.restored import restored
from uadtools.nets.unet import UNet


class Joined(nn.Module):
    """A frozen network of restoration, and a U-Net that sees the slab, its healed middle and the score.

    severity: what the frozen network is told, the highest that it is to expect. scale: a buffer that the score is
    divided by, so that it is of the size of the other channels.
    """

    def __init__(self, frozen: UNet, reader: UNet, severity: int) -> None:
        super().__init__()
        self.frozen, self.reader, self.severity = frozen.requires_grad_(False), reader, severity
        self.register_buffer("scale", torch.ones(()))
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of "this is a lesion", (B, 1, H, W) float32. x: (B, C (2 reach + 1), H, W) in [-1, 1]."""
        healed, score = self.known(x)
        logit: Tensor = self.reader(torch.cat([x, healed, score / self.scale], dim=1))
        return logit.float()

    @torch.no_grad()
    def known(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the healed middle slices, (B, C, H, W) in [-1, 1], and their score, (B, 1, H, W).

        That is uad-score --metric product; of several contrasts it is the mean.
        """
        at = torch.full((len(x),), self.severity, device=x.device)
        answer = restored(x, self.frozen(x, at))
        healed = answer.x0.clamp(-1, 1)
        return healed, apart(middle(x, healed.shape[1]), healed) * answer.logit.sigmoid().sqrt()

    def train(self, mode: bool = True) -> Self:
        """Set what is trained to training; the frozen network stays as it heals."""
        super().train(mode)
        self.frozen.eval()
        return self
