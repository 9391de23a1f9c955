"""What each image of a study is, one table of their roles, and which of them each input takes, another."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from uadtools.errors import UadError

if TYPE_CHECKING:
    from uadtools.volume.io import Image

DefaultMetric = Literal["l1", "product", "relative", "anomaly"]


@dataclass(frozen=True)
class Role:
    """What images of a role hold.

    kind: intensities of a scan, other numbers, or a mask. outlines: where there is no mask, these images say where the
    brain is, as they are 0 outside of it. scored: the metric that is the default where they are there. bound: their
    mean is a case score. title: above a picture, for what is drawn.
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
    "anomaly": Role("how anomalous each voxel is to the method itself", "map", scored="anomaly"),
    "expected": Role("how far healthy scans are from their healed selves", "map", scored="relative"),
    "probability": Role("that something was changed there", "map", scored="product"),
    "perceptual": Role("how unlike the features of scan and healed scan are", "map"),
    "spread": Role("deviation over several draws", "map"),
    "region": Role("where a model of latents found the scan unlikely", "mask"),
    "bound": Role("how unlikely latent diffusion finds the scan, over the steps of the region", "map", bound=True),
    "chain": Role("how unlikely latent diffusion finds the scan, over all steps", "map", bound=True),
    "nll": Role("the negative log-likelihood of the scan's codes, in nats", "map", bound=True),
    "flipped": Role("the share of the bits that diffusion of bits made anew", "map"),
}
"""In this order images are asked where the brain is, and drawn. A study of several contrasts has some in each of its
channels: the first one's have the role's own name, the others' are called as in scan:FLAIR."""


def in_channel(role: str, channel: str) -> str:
    """Return what images of a role are called in a channel, "" for the first one."""
    return f"{role}:{channel}" if channel else role


def parted(role: str) -> tuple[str, str]:
    """Return what an image is, and in which channel, "" for the first one."""
    base, _, channel = role.partition(":")
    return base, channel


@dataclass(frozen=True)
class Input:
    """What an input is to be, the roles of images that are, and what a user does who has another."""

    what: str
    roles: tuple[str, ...]
    advice: str


_MAPS = tuple(name for name, role in ROLES.items() if role.kind == "map")
INPUTS = {
    "scan": Input("a scan", ("scan",), "give the scan it was made from"),
    "healed": Input("a healed scan", ("healed",), "uad-heal makes one"),
    "anomaly": Input("a method's own map", ("anomaly",), "uad-heal writes it"),
    "score": Input("a score map", _MAPS, "uad-score makes one"),
    "brain": Input("a mask of the brain", ("brain",), "uad-preprocess --save-brain writes one"),
    "truth": Input("a mask of lesions", ("truth", "detection"), "give the expert's mask"),
    "prediction": Input(
        "a prediction", ("detection", "truth", "healed", "region", *_MAPS), "uad-score and uad-postproc make some"
    ),
    "spread": Input("a map of the spread", ("spread",), "uad-heal --maps writes it"),
    "probability": Input("a map of probabilities", ("probability",), "uad-heal writes it"),
    "region": Input("a region", ("region",), "uad-heal --maps writes it"),
}
"""Roles that the commands' inputs take. A plain image, another program's, is taken for any; its voxels may speak
against it (`volume.labels`)."""
_MADE_BY = {"uad-heal": "healed", "uad-score": "score", "uad-postproc": "detection"}


def stated_role(image: Image) -> str | None:
    """Return the role that an image has, or that its history tells of one that lost it; None of a plain image."""
    return role_told(image.role, image.provenance.get("history"))


def role_told(role: str, history: Any) -> str | None:
    """The same of what was read of an image without its voxels; its history may be anything."""
    if role != "scan":
        return parted(role)[0]
    told = isinstance(history, list) and all(isinstance(line, dict) for line in history) and history
    return _MADE_BY.get(str(told[-1].get("tool")), "scan") if told else None


def require_role(image: Image, wanted: str, name: str) -> None:
    """Raise UadError for an image that says of itself that it is not what this input takes. name: in the error."""
    stated, taken = stated_role(image), INPUTS[wanted]
    if stated is not None and stated not in taken.roles and (stated in ROLES or wanted != "prediction"):
        article = "an" if stated[0] in "aeiou" else "a"
        raise UadError(f"{name}: is {article} {stated}, not {taken.what} ({taken.advice})")


def default_metric(roles: Container[str]) -> DefaultMetric:
    """Return the metric by which images of these roles are scored where none is named."""
    return next((about.scored for role, about in ROLES.items() if about.scored and role in roles), "l1")
