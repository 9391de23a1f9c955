"""Healthy or sick: a classifier of noisy images beside a frozen U-Net, and a U-Net that is told which."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from uadtools.nets.blocks import silu
from uadtools.nets.unet import Encoder, UNet

HEALTHY, SICK, NONE = 0, 1, 2
"""The classes that a U-Net is told; NONE: nothing is said."""


class Classifier(Encoder):
    """Tells from a noisy image and its step whether it is sick: a U-Net's way down, the mean over places, one number.

    Source: Dhariwal & Nichol 2021, section 4, which pools by attention.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.head_norm = self.parts.norm(self.widths[-1])
        self.head = nn.Linear(self.widths[-1], 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the logits of "this is sick", (B,). x: (B, C, H, W) in the units of [-1, 1]; t: (B,) int64."""
        logit: Tensor = self.head(silu(self.head_norm(self.encode(x, t))).flatten(2).mean(dim=2))
        return logit[:, 0].float()


class ClassifiedDiffusion(nn.Module):
    """A frozen U-Net that removes noise, and a classifier of noisy images that leads it. Source: Wolleb et al. 2022."""

    def __init__(self, unet: UNet, classifier: Classifier) -> None:
        super().__init__()
        self.unet, self.classifier = unet.requires_grad_(False), classifier

    def train(self, mode: bool = True) -> Self:
        """Set the classifier to training; the frozen network stays as it heals."""
        super().train(mode)
        self.unet.eval()
        return self

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the logits of "this is sick", (B,)."""
        logit: Tensor = self.classifier(x_t, t)
        return logit


class ClassConditioned(nn.Module):
    """A U-Net that removes noise and is told whether the image is healthy, sick, or nothing of that.

    width: of a class's embedding, which stands beside that of the step. Source: Ho & Salimans 2022.
    """

    def __init__(self, unet: UNet, width: int) -> None:
        super().__init__()
        self.unet, self.classes = unet, nn.Embedding(3, width)

    def code(self, kind: int, count: int) -> Tensor:
        """Return what the U-Net is told of a class, for so many images, (B, D)."""
        return self.classes.weight[kind].expand(count, -1)

    def forward(self, x_t: Tensor, t: Tensor, kinds: Tensor) -> Tensor:
        """Return what the U-Net tells of x_t. kinds: (B,) HEALTHY, SICK or NONE."""
        out: Tensor = self.unet(x_t, t, self.classes(kinds))
        return out

    @torch.no_grad()
    def start(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of a U-Net that was told of no class: it answers as that does, whatever it is told."""
        own = self.unet.state_dict()
        for name, value in own.items():
            given = weights[name].to(value)
            value.copy_(given if given.shape == value.shape else _widened(given, value))


def _widened(weight: Tensor, like: Tensor) -> Tensor:
    """Append columns of zeros to a matrix."""
    made = torch.zeros_like(like)
    made[:, : weight.shape[1]] = weight
    return made
