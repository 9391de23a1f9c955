"""One case of a comparison: its score, ready for a threshold, and what is known of how it was healed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadtools.evaluation.cases import Case, differences
from uadtools.evaluation.measures import defined
from uadtools.evaluation.reports import Kind, Row
from uadtools.grids.box import box_of
from uadtools.metrics.image import psnr, ssim
from uadtools.metrics.overlap import Mask
from uadtools.scoring.case_scores import top
from uadtools.scoring.postproc import Steps, detect, prepare
from uadtools.volume.chain import label_of, labels_on, voxel_ml
from uadtools.volume.labels import IGNORED, LESION
from uadtools.volume.stream import Study

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Ready:
    """A case that only the threshold is missing from: (X, Y, Z) in the box of its brain; noted: what is known of it."""

    name: str
    score: Values
    smooth: Values
    inside: Mask
    eroded: Mask
    truth: Mask
    spacing: tuple[float, float, float]
    voxel_ml: float
    noted: dict[str, Any]
    steps: Steps

    @classmethod
    def of(cls, study: Study, steps: Steps, noted: dict[str, Any]) -> Ready:
        """Do what comes before the threshold to a study of score and truth; without truth there is no lesion."""
        ready, image = prepare(study, steps), study.need("score")
        labels = np.zeros(ready.inside.shape, np.uint8)
        if "truth" in study.images:
            labels = labels_on(study.images["truth"], image, f"{study.name}: truth")
        counted = labels != IGNORED
        box = box_of(ready.inside)  # memory holds all cases of a test set at once
        return cls(
            study.name,
            image.data[box].copy(),
            ready.smooth[box].copy(),
            ready.inside[box] & counted[box],
            ready.eroded[box] & counted[box],
            labels[box] == LESION,
            image.grid.spacing,
            voxel_ml(image),
            noted,
            steps,
        )

    @property
    def ranked(self) -> Case:
        """The case of the score; what is eroded is never detected, so it ranks last."""
        return self._case("score", np.where(self.eroded, self.smooth, 0))

    def detected(self, level: float) -> Case:
        """Return the case of the detection at a threshold."""
        return self._case("detection", detect(self.smooth, self.eroded, self.steps, level))

    def _case(self, kind: Kind, prediction: NDArray[Any]) -> Case:
        return Case(self.name, kind, prediction, self.truth, self.inside, True, self.spacing, self.voxel_ml)

    def row(self, level: float) -> Row:
        """Return what is noted, the share of the brain that is detected, and the case scores mean and smooth `top`."""
        return {
            **self.noted,
            "name": self.name,
            "detected": float(self.detected(level).prediction[self.inside].mean()),
            "case_score": float(self.score[self.inside].mean()),
            "top": top(self.smooth[self.inside]),
        }


def likeness(study: Study) -> dict[str, float | None]:
    """Say how like a scan its healed self is, in the brain; what is undefined is null, and all where nothing healed.

    SSIM and PSNR are of scans without truth alone: of lesions nobody wants them back.
    """
    if "healed" not in study.images:
        return dict.fromkeys(("l1", "l1_lesion", "l1_healthy", "l1_ratio", "kld", "ssim", "psnr"))
    scan, healed = (study.need(role).data.astype(np.float32) for role in ("scan", "healed"))
    truth = study.images.get("truth")
    lesion = None if truth is None else label_of(truth, study.need("scan"), f"{study.name}: truth")
    found = differences(scan, healed, scan > 0, lesion)
    found |= {"ssim": ssim(scan, healed, scan > 0), "psnr": psnr(scan, healed, scan > 0)} if truth is None else {}
    return {name: defined(value) for name, value in found.items()}
