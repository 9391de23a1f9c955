"""How near healed scans are to healthy ones in the features of a network: each by itself, and all of them as a set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Tell, silent
from uadtools.datasets.sources import studies
from uadtools.errors import Misuse, UadError
from uadtools.evaluation.cases import Case
from uadtools.evaluation.measures import defined
from uadtools.evaluation.reports import Row
from uadtools.grids.slices import filled, to_network, to_slices
from uadtools.metrics.normative import Rows, anomaly_to_healthy, frechet, restoration_quality
from uadtools.volume.io import Image
from uadtools.volume.roles import require_role
from uadtools.volume.stream import Study

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16
"""Slices that are looked at together."""


@dataclass(frozen=True)
class Look:
    """What a network makes of images (B, 1, H, W) in [-1, 1].

    unlike: how far two are apart at each place, (B, 1, H, W); describe: the features of one, (B, D).
    """

    name: str
    unlike: Callable[[Tensor, Tensor], Tensor]
    describe: Callable[[Tensor], Tensor]


def look(path: Path) -> Look:
    """Load a file of features or a model of one contrast that removes noise. Raises UadError for others."""
    import torch

    from uadtools.models.checkpoint import FEATURES, file_hash, located, read_metadata
    from uadtools.models.features import load_features
    from uadtools.models.model import load_model
    from uadtools.nets.unet import UNet

    path = located(path)
    name = f"{path.name}:{file_hash(path)}"
    if FEATURES in read_metadata(path):
        features = load_features(path, torch.device("cpu"))
        return Look(name, features, features.describe)
    model = load_model(path, device="cpu", precision="fp32")
    if not (isinstance(model.net, UNet) and hasattr(model.config, "schedule") and model.channels == 1):
        raise UadError(
            f"--features {path}: compares no images (a file of LPIPS' features does, or a model of one contrast "
            "that removes noise from slices)"
        )
    return Look(name, model.perceive, model.describe)


@dataclass(frozen=True)
class Normative:
    """Looks at one study after the other, then tells of all of them.

    healthy: features of the slices of healthy scans, (N, D), or none; before, after: those of the scans, and of the
    healed ones.
    """

    look: Look
    healthy: Rows | None = None
    before: list[Rows] = field(default_factory=list)
    after: list[Rows] = field(default_factory=list)

    def seen(self, study: Study, judged: Case) -> Case:
        """Add to a case how far scan and healed are apart in the brain, and how well it was restored.

        Raises UadError where it holds no scan and its healed self.
        """
        if not judged.likeness:
            raise UadError(
                f"--features: {study.name}: holds no scan and its healed self to look at (give healed scans and --scan)"
            )
        scan, healed = study.need("scan"), study.need("healed")
        within = judged.within if judged.in_brain else study.brain(scan)
        x, other = (_sliced(image, within) for image in (scan, healed))
        apart = np.concatenate(_asked(lambda start: self.look.unlike(*_tensors(start, x, other)), len(x)))
        perceptual = float(apart[to_slices(within)[filled(within)] > 0].mean(dtype=np.float64))
        if self.healthy is not None:
            self.before.append(_described(self.look, _prepared(study), within))
            self.after.append(_described(self.look, healed, within))
        quality = restoration_quality(judged.likeness["ssim"], judged.likeness["l1"], perceptual)
        return replace(judged, likeness=judged.likeness | {"perceptual": perceptual, "restoration_quality": quality})

    def told(self) -> Row:
        """Return what the report has of all studies; figures of the set where there are healthy scans."""
        row: Row = {"features": self.look.name}
        if self.healthy is None:
            return row
        before, after = (frechet(np.concatenate(rows), self.healthy) for rows in (self.before, self.after))
        return row | {
            "slices": sum(map(len, self.before)),
            "healthy_slices": len(self.healthy),
            "scans_to_healthy": before,
            "healed_to_healthy": after,
            "anomaly_to_healthy": defined(anomaly_to_healthy(before, after)),
        }


def looking(features: Path | str | None, normal: Sequence[str] = (), tell: Tell = silent) -> Normative | None:
    """Get ready to look at healed scans by a file of features or a model, where there is one.

    normal: files of healthy scans; tell: what is strange about them. Raises UadError for what is none.
    """
    if features is None:
        if normal:
            raise Misuse("--normal: is held against by --features, a file of LPIPS' or a model (give both)")
        return None
    seen = look(Path(features))
    healthy = [
        _described(seen, _prepared(study), study.brain()) for study in (studies(normal, tell=tell) if normal else ())
    ]
    return Normative(seen, np.concatenate(healthy) if healthy else None)


def _prepared(study: Study) -> Image:
    """Return the scan of a study. Raises UadError where there is none, or it is not prepared."""
    scan = study.images.get("scan", study.product)
    require_role(scan, "scan", f"--normal: {study.name}")
    low, high = float(scan.data.min()), float(scan.data.max())
    if low < 0 or not 0 < high <= 1:
        raise UadError(f"--normal: {study.name}: not prepared: values {low:g} to {high:g} (uad-preprocess)")
    return scan


def _described(look: Look, image: Image, within: NDArray[np.bool_]) -> Rows:
    x = _sliced(image, within)
    return np.concatenate(_asked(lambda start: look.describe(*_tensors(start, x)), len(x))).astype(np.float64)


def _sliced(image: Image, within: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the slices that hold some of the brain, as networks see them."""
    return to_network(to_slices(image.data)[filled(within)])


def _asked(question: Callable[[int], Tensor], count: int) -> list[NDArray[Any]]:
    """Ask about a batch after the other, each by the place of its first slice."""
    import torch

    with torch.inference_mode():
        return [question(start).numpy() for start in range(0, count, BATCH)]


def _tensors(start: int, *images: NDArray[np.float32]) -> list[Tensor]:
    import torch

    return [torch.from_numpy(image[start : start + BATCH]) for image in images]
