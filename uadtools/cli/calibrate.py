"""uad-calibrate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uadtools.cli import _chain as chain
from uadtools.cli import _common as c

if TYPE_CHECKING:
    from uadtools.volume.stream import Study

EXAMPLES = """
  uad-calibrate healthy/*_score.nii.gz -o threshold.json
  uad-calibrate healthy/*.nii.gz --rule voxelwise --level 0.1 --power lesioned/*.nii.gz --truth truth/*.nii.gz
  (cat healthy.nii; uad-simulate healthy.nii -o - --kind blobs) | uad-heal | uad-score | uad-calibrate -o threshold.json
  uad-calibrate scores/*.nii.gz --truth truth/*.nii.gz --rule best-dice -o threshold.json
"""
SILENT = 0.1
"""Recall below which a threshold is said to silence the detector."""


def calibrate(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCORE]...",
            help="Score maps of healthy scans, or - for a stream on standard input (which no SCORE means, too). Scans "
            "whose truth shows a lesion are not healthy: they tell what the threshold leaves.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the threshold to this file, for uad-postproc --threshold FILE.json.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        Literal["scanwise", "voxelwise", "percentile", "best-dice"] | None,
        typer.Option(
            "--rule",
            metavar="scanwise|voxelwise|percentile|best-dice",
            help="scanwise: at most a share LEVEL of new healthy scans has a false alarm; voxelwise: at most a share "
            "LEVEL of a new healthy brain is above the threshold, on average; percentile: of the healthy voxels given, "
            "without a promise; best-dice: the highest Dice on scans with lesions. Default: scanwise.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            "--level",
            metavar="LEVEL",
            help="Highest rate of false positives; 1 / LEVEL - 1 healthy scans are needed. Default: 0.05.",
            show_default=False,
        ),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option("--percentile", metavar="P", min=0, max=100, help="Default: 99.5.", show_default=False),
    ] = None,
    allow: Annotated[
        float | None,
        typer.Option(
            "--allow",
            metavar="ML",
            min=0,
            help="How much may be detected in a healthy scan before it is a false alarm (scanwise). Default: 0.",
            show_default=False,
        ),
    ] = None,
    power: Annotated[
        list[str] | None,
        typer.Option(
            "--power",
            metavar="SCORE...",
            help="Score maps of scans with lesions, to tell which of them the threshold finds.",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        list[Path] | None,
        typer.Option(
            "--truth",
            metavar="T...",
            help="Lesion masks of the --power scans, in their order; without --power, of the SCOREs.",
            show_default=False,
        ),
    ] = None,
    residuals: Annotated[
        Path | None,
        typer.Option(
            "--residuals",
            metavar="FILE.nii.gz",
            help="Instead of a threshold, write mean and spread of the healthy scores at each position, for uad-score "
            "--normal.",
            show_default=False,
        ),
    ] = None,
    per: Annotated[
        Literal["voxel", "slice"] | None,
        typer.Option(
            "--per",
            metavar="voxel|slice",
            help="What a position of --residuals is. Default: voxel.",
            show_default=False,
        ),
    ] = None,
    median: chain.Median = None,
    erode: chain.Erode = None,
    min_size: chain.MinSize = None,
    dilate: chain.Dilate = None,
    largest: chain.Largest = None,
    volume: c.Volume = None,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Find a detection threshold, say what it promises about healthy scans, and what it leaves of lesions."""
    from uadtools.files import check_free, write_json
    from uadtools.scoring.calibrate import calibrate as work

    steps = chain.given(median=median, erode=erode, min_size=min_size, dilate=dilate, largest=largest)
    aims = _aims(rule, level, percentile, allow)
    if residuals is not None:
        idle = {"output": output, "rule": rule, "power": power, "truth": truth, **aims, **steps}
        learnt = _learn(inputs, volume, residuals, per or "voxel", force, **idle)
        if as_json:
            c.print_json(learnt)
        return
    if per:
        raise c.usage("has no effect without --residuals (leave it out)", "--per")
    _check_counts(inputs, power, truth)
    if output is not None:
        check_free(output, force=force)
    with c.progress("calibrating", quiet) as watch:
        tell = c.teller("uad-calibrate", quiet or not verbose)
        scans = _watched(_studies(inputs, volume, power, truth), watch, [*(inputs or ["-"]), *(power or ())], tell)
        report: dict[str, Any] = dict(work(scans, rule or "scanwise", **steps, **aims))
    if output is not None:
        write_json(output, report, force=force)
    if as_json:
        c.print_json(report)
    elif not quiet:
        print("\n".join(summary(report)))
    for size in _unseen(report["power"]):
        told = f"warning: this threshold silences the detector for lesions of {_size(size)}"
        c.teller("uad-calibrate", quiet)(f"{told}: {size['found']} of {size['count']} found")


def _aims(rule: str | None, level: float | None, percentile: float | None, allow: float | None) -> dict[str, Any]:
    """Return what the user chose to reach. Raises a usage error for what has no effect with this rule."""
    if level is not None and rule in ("percentile", "best-dice"):
        raise c.usage(f"has no effect with --rule {rule} (leave it out)", "--level")
    if percentile is not None and rule != "percentile":
        raise c.usage("has an effect only with --rule percentile", "--percentile")
    if allow is not None and rule not in (None, "scanwise"):
        raise c.usage("has an effect only with --rule scanwise (leave it out)", "--allow")
    given = {"level": level, "percentile": percentile, "allowed_ml": allow}
    return {name: value for name, value in given.items() if value is not None}


def _learn(
    inputs: Sequence[str] | None,
    volume: int | None,
    path: Path,
    per: Literal["voxel", "slice"],
    force: bool,
    **idle: Any,
) -> dict[str, Any]:
    """Write what healthy scores are like, and tell how it was learnt. idle: options of thresholds, without effect."""
    from uadtools.cohort.sources import studies
    from uadtools.scoring.calibrate import has_lesion
    from uadtools.scoring.normal import learn, save_normal
    from uadtools.volume.io import check_target

    if chosen := [name for name, value in idle.items() if value is not None]:
        raise c.usage("writes no threshold, so this has no effect with it", f"--{min(chosen)}".replace("_", "-"))
    check_target(path, force=force, provenance=False)
    healthy = (study for study in studies(inputs, volume) if not has_lesion(study))
    normal = learn(healthy, per=per)
    save_normal(normal, path, force=force)
    return {"residuals": str(path), **normal.product.provenance["normal"]}


def _check_counts(inputs: Sequence[str] | None, power: Sequence[str] | None, truth: Sequence[Path] | None) -> None:
    """Refuse numbers of files that do not fit one another; how many scans a stream holds is seen later."""
    labelled = power or inputs or ["-"]
    if power and not truth:
        raise c.usage("give the lesion masks, one for each scan of --power", "--truth")
    if truth and "-" not in labelled and len(labelled) != len(truth):
        raise c.usage(f"{len(truth)} truths for {len(labelled)} scans", "--truth")


def _studies(
    inputs: Sequence[str] | None, volume: int | None, power: Sequence[str] | None, truth: Sequence[Path] | None
) -> Iterator[Study]:
    """Read the scans, and give those that are labelled their truth."""
    from uadtools.cohort.sources import studies

    if power:
        yield from studies(inputs, volume)
    labelled = studies(power or inputs, volume)
    yield from _with_truth(labelled, truth) if truth else labelled


def _with_truth(labelled: Iterator[Study], truths: Sequence[Path]) -> Iterator[Study]:
    from uadtools.volume.stream import read_image

    for study, path in zip_longest(labelled, truths):
        if study is None or path is None:
            raise c.usage(f"{len(truths)} truths, and there are {'more' if study else 'fewer'} scans", "--truth")
        label = read_image(path)
        yield study.adding(*study.images.values(), label.derive(label.data, "truth"))


def _watched(
    scans: Iterator[Study], watch: Callable[[int, int], None], files: Sequence[str], tell: Callable[[str], None]
) -> Iterator[Study]:
    """Tell the progress bar how many of the files are done; what a stream holds is not known."""
    for done, study in enumerate(scans):
        if "-" not in files:
            watch(done, len(files))
        tell(study.name)
        yield study


def summary(report: dict[str, Any]) -> Iterator[str]:
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


def _leaves(power: dict[str, Any] | None) -> Iterator[str]:
    if power is None:
        yield "power      unknown: no scan has lesions (--power SCORE... --truth T..., or uad-simulate in the pipe)"
        return
    yield f"power      {power['found']} of {power['lesions']} lesions found in {power['scans']} scans"
    for size in power["by_size"]:
        share = "" if size["recall"] is None else f"{size['recall']:.0%}"
        yield f"           {_size(size)}: {size['found']} of {size['count']}  {share}".rstrip()
    volumes = f"{power['detected_ml']:.2f} mL detected in a scan, {power['lesion_ml']:.2f} mL are lesion"
    yield f"           {volumes}; {power['false_positives']} false components"


def _unseen(power: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the classes of lesions of which hardly any is found."""
    sizes = power["by_size"] if power else []
    return [size for size in sizes if size["count"] and size["recall"] < SILENT]


def _size(size: dict[str, Any]) -> str:
    low, high = size["low"], size["high"]
    return f"{low:g} mL and more" if high is None else f"{low:g} to {high:g} mL"


COMMAND = c.Command(calibrate, "uad-calibrate", EXAMPLES, ("--power", "--truth"))
main = COMMAND.run
