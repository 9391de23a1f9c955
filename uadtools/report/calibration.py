"""A calibration in words: what a threshold promises about healthy scans, and what it leaves of lesions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uadtools.scoring.calibrate import Calibration
    from uadtools.scoring.power import Power

SILENT = 0.1
"""Recall below which a threshold is said to silence the detector."""


def summary(report: Calibration) -> Iterator[str]:
    """Say to a person what the threshold promises, and what it leaves."""
    healthy, level = report["healthy"], f"{100 * (report['level'] or 0):g}%"
    yield f"threshold  {report['threshold']:.4g} ({report['rule']})"
    amount = f"more than {report['allowed_ml']:g} mL" if report.get("allowed_ml") else "anything"
    promises = {
        "scanwise": f"in at most {level} of new healthy scans is {amount} detected",
        "voxelwise": f"at most {level} of a new healthy brain is above the threshold, on average over scans",
        "percentile": f"none: {report['percentile'] or 0:g}% of these healthy voxels are below the threshold",
        "best-dice": f"none: the highest Dice of these scans' voxels, {report['best_dice'] or 0:.3f}",
    }
    yield f"promise    {promises[report['rule']]}"
    if healthy["needed"]:
        yield "           if it could as well have been one of these: same scanner, people and preparation"
        yield f"scans      {healthy['scans']} healthy ones; this promise needs at least {healthy['needed']}"
    if healthy["alarms_95"] is not None:
        sure = f"with 95% confidence, the rate is under {healthy['alarms_95']:.0%}"
        yield f"           that is so on average over choices of scans; as these may be quiet ones: {sure}"
    if healthy["scans"]:
        alarms = f"false alarms in {healthy['alarms']} of these {healthy['scans']} healthy scans"
        yield f"seen       {alarms}, {healthy['share']:.3%} of the brain above the threshold"
    yield from _leaves(report["power"])


def _leaves(power: Power | None) -> Iterator[str]:
    if power is None:
        yield "power      unknown: no scan has lesions (--power SCORE... --truth T..., or uad-simulate in the pipe)"
        return
    yield f"power      {power['found']} of {power['lesions']} lesions found in {power['scans']} scans"
    for size in power["by_size"]:
        share = "" if size["recall"] is None else f"{size['recall']:.0%}"
        yield f"           {_size(size)}: {size['found']} of {size['count']}  {share}".rstrip()
    volumes = f"{power['detected_ml']:.2f} mL detected in a scan, {power['lesion_ml']:.2f} mL are lesion"
    yield f"           {volumes}; {power['false_positives']} false components"


def warnings(report: Calibration) -> Iterator[str]:
    """Warn of each class of lesions of which hardly any is found."""
    for size in report["power"]["by_size"] if report["power"] else []:
        if size["count"] and size["recall"] < SILENT:
            silenced = f"this threshold silences the detector for lesions of {_size(size)}"
            yield f"warning: {silenced}: {size['found']} of {size['count']} found"


def _size(size: dict[str, Any]) -> str:
    low, high = size["low"], size["high"]
    return f"{low:g} mL and more" if high is None else f"{low:g} to {high:g} mL"
