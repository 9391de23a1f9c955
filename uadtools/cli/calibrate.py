"""uad-calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-calibrate healthy/*_score.nii.gz -o threshold.json
  uad-calibrate healthy/*.nii.gz --rule voxelwise --level 0.1 --power lesioned/*.nii.gz --truth truth/*.nii.gz
  (cat healthy.nii; uad-simulate healthy.nii -o - --kind blobs) | uad-heal | uad-score | uad-calibrate -o threshold.json
  uad-calibrate scores/*.nii.gz --truth truth/*.nii.gz --rule best-dice -o threshold.json
"""
Rule = Literal["scanwise", "voxelwise", "percentile", "best-dice"]
Per = Literal["voxel", "slice"]


def calibrate(
    inputs: list[str] | None = o.argument("""[SCORE]...
        Score maps of healthy scans, or - for a stream on standard input (which no SCORE means, too). Scans whose
        truth shows a lesion are not healthy: they tell what the threshold leaves."""),
    output: Path | None = o.option("""--output -o FILE
        Write the threshold to this file, for uad-postproc --threshold FILE.json."""),
    rule: Rule | None = o.option(f"""--rule {o.choices(Rule)}
        scanwise: at most a share LEVEL of new healthy scans has a false alarm; voxelwise: at most a share LEVEL of
        a new healthy brain is above the threshold, on average; percentile: of the healthy voxels given, without a
        promise; best-dice: the highest Dice on scans with lesions. Default: scanwise."""),
    level: float | None = o.option("""--level LEVEL
        Highest rate of false positives; 1 / LEVEL - 1 healthy scans are needed. Default: 0.05."""),
    percentile: float | None = o.option("--percentile P  Default: 99.5.", min=0, max=100),
    allow: float | None = o.option(
        """--allow ML
        How much may be detected in a healthy scan before it is a false alarm (scanwise). Default: 0.""",
        min=0,
    ),
    power: list[str] | None = o.option("""--power SCORE...
        Score maps of scans with lesions, to tell which of them the threshold finds."""),
    truth: list[Path] | None = o.option("""--truth T...
        Lesion masks of the --power scans, in their order; without --power, of the SCOREs."""),
    match: bool | None = o.flag("--match  Pair --truth with the scans by the ids in their names, not by their order."),
    label: list[int] | None = o.LABEL,
    ignore: list[int] | None = o.IGNORE,
    reference: Path | None = o.option("""--reference FILE
        Instead of a threshold, write mean and spread of the healthy scores at each position, for uad-score
        --reference (.nii or .nii.gz)."""),
    per: Per | None = o.option(f"""--per {o.choices(Per)}
        What a position of --reference is. Default: voxel."""),
    median: int | None = o.MEDIAN,
    smooth: float | None = o.SMOOTH,
    erode: int | None = o.ERODE,
    min_size: int | None = o.MIN_SIZE,
    dilate: int | None = o.DILATE,
    largest: bool | None = o.LARGEST,
    strict: bool = o.STRICT,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Find a detection threshold, say what it promises about healthy scans, and what it leaves of lesions."""
    from uadtools.cohort.calibrate import calibrate_all, learn_all
    from uadtools.report.calibration import summary, warnings

    tell = c.teller("uad-calibrate", quiet)
    options: dict[str, Any] = {"rule": rule, "level": level, "percentile": percentile, "allow": allow}
    options |= {"power": power, "truth": truth, "match": match or None, "label": label, "ignore": ignore}
    options |= {"median": median, "smooth": smooth, "erode": erode, "min_size": min_size, "dilate": dilate}
    options |= {"largest": largest}
    if reference is not None:
        _check_idle({"output": output, **options})
        learnt = learn_all(
            inputs or "-", reference, per=per or "voxel", volume=volume, geometry=geometry, force=force, tell=tell
        )
        if as_json:
            c.print_json(learnt)
        return
    if per:
        raise c.usage("has no effect without --reference (leave it out)", "--per")
    given = {name: value for name, value in options.items() if value is not None}
    report = calibrate_all(
        inputs or "-",
        output,
        volume=volume,
        geometry=geometry,
        force=force,
        tell=tell,
        progress=lambda text: c.progress(text, quiet),
        verbose=verbose,
        **given,
    )
    if as_json:
        c.print_json(report)
    elif not quiet:
        c.say("\n".join(summary(report)))
    for warning in warnings(report):
        tell(warning)
    c.leave([report], strict)


def _check_idle(options: dict[str, Any]) -> None:
    """Refuse options of thresholds, where none is made."""
    if given := [name for name, value in options.items() if value is not None]:
        raise c.usage(
            "has no effect with --reference, which writes no threshold (leave it out)",
            f"--{min(given)}".replace("_", "-"),
        )


COMMAND = c.Command(
    calibrate,
    "uad-calibrate",
    EXAMPLES,
    ("--power", "--truth", "--label", "--ignore"),
    renamed={"--residuals": "--reference"},
)
main = COMMAND.run
