"""What each image of a study is: one table of their roles."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

DefaultMetric = Literal["l1", "product", "relative"]


@dataclass(frozen=True)
class Role:
    """What images of a role hold.

    kind: intensities of a scan, other numbers, or a mask. outlines: where there is no mask, these images say where the
    brain is, as they are 0 outside of it. scored: the metric that is the default
    where they are there. bound: their mean is a case score.
    title: above a picture, for what is drawn.
    """

    what: str
    kind: Literal["scan", "map", "mask"]
    outlines: bool = False
    scored: DefaultMetric | None = None
    bound: bool = False
    title: str = ""


ROLES = {
    "brain": Role("where the brain is", "mask", outlines=True),
    "scan": Role("a scan, raw or prepared", "scan", outlines=True, title="scan"),
    "healed": Role("the healthy scan that the model believes in", "scan", outlines=True, title="healed"),
    "score": Role("how anomalous each voxel is", "map", outlines=True, title="anomaly score"),
    "detection": Role("what is detected", "mask", title="detection"),
    "truth": Role("the lesions, as an expert or uad-simulate drew them", "mask", title="truth"),
    "expected": Role("how far healthy scans are from their healed selves", "map", scored="relative"),
    "probability": Role("that something was changed there", "map", scored="product"),
    "spread": Role("deviation over several draws", "map"),
    "region": Role("where latent diffusion found the scan unlikely", "mask"),
    "bound": Role("how unlikely latent diffusion finds the scan, over the steps of the region", "map", bound=True),
    "chain": Role("how unlikely latent diffusion finds the scan, over all steps", "map", bound=True),
}
"""In this order images are asked where the brain is, and drawn."""


def default_metric(roles: Container[str]) -> DefaultMetric:
    """Return the metric by which images of these roles are scored where none is named."""
    return next((about.scored for role, about in ROLES.items() if about.scored and role in roles), "l1")
