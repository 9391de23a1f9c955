"""What methods that learn lesions from masks have in common: what they make, and the loss that they make small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uadtools.interface.healing import Healing, Unhealed

if TYPE_CHECKING:
    from uadtools.interface.types import Tensor

LOWEST = 1e-30
"""The least probability, as maps are above 0 in the brain."""


@dataclass(frozen=True)
class Marking(Unhealed):
    """The options of a method that tells the probability of a lesion at each pixel in one evaluation."""

    def evaluations(self, shape: tuple[int, int]) -> int:
        return 1


def marked(probability: Tensor) -> Healing:
    """Give the map of a method that heals nothing. probability: of a lesion, (B, 1, H, W)."""
    return Healing(None, {"anomaly": probability.clamp(min=LOWEST)})


def distance(logit: Tensor, middle: Tensor, labels: Tensor) -> Tensor:
    """Tell lesions: BCE in which those and the rest of the brain weigh alike, and soft Dice, over the whole batch.

    logit: of a lesion, (B, 1, H, W); middle: the slices in [-1, 1], (B, C, H, W), of which the first contrast tells the
    brain; labels: theirs, (B, 1, H, W), of which IGNORED counts neither way.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from uadtools.volume.labels import IGNORED, LESION

    brain = (middle[:, :1] > -1) & (labels != IGNORED)
    lesion = (labels == LESION) & brain
    bce = binary_cross_entropy_with_logits(logit, lesion.float(), reduction="none")
    sides = [bce[side].mean() for side in (lesion, brain & ~lesion) if side.any()]
    probability = logit.sigmoid() * brain
    dice = 1 - (2 * (probability * lesion).sum() + 1) / (probability.sum() + lesion.sum() + 1)
    weighed: Tensor = torch.stack([*sides, bce.new_zeros(())]).sum() / 2 + dice
    return weighed
