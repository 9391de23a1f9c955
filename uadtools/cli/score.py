"""uad-score."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-score scan_preprocessed.nii.gz scan_healed.nii.gz       writes scan_score.nii.gz
  uad-score healed/ --scan prepared/ -o scores/               many scans
  uad-heal scan_preprocessed.nii.gz -o - | uad-score --json   prints the case scores
  uad-heal a.nii.gz --samples 8 -o - | uad-score --metric mahalanobis -o a_score.nii.gz
"""
Metric = Literal[
    "l1", "l2", "product", "relative", "probability", "anomaly", "perceptual", "ssim", "gradient", "mahalanobis",
    "equalised",
]  # fmt: skip
Signed = Literal["both", "bright", "dark", "hyperintense"]


def score(
    inputs: list[str] | None = o.argument("""SCAN HEALED|HEALED...
        Two files; or healed scans, folders and lists of them (of a folder, the files NAME_healed, or where there are
        none NAME_anomaly, of a method that heals nothing), each with its scan beside it; or - for a stream on
        standard input (which no argument means, too)."""),
    output: str | None = o.OUTPUT,
    scan: list[str] | None = o.option("""--scan DIR|FILE...
        The prepared scans of many HEALED, which have their names. Default: those beside them."""),
    bids: Path | None = o.BIDS,
    suffix: str | None = o.SUFFIX,
    metric: Metric | None = o.option(f"""--metric {o.choices(Metric)}
        l1: |scan - healed|; l2: its square; probability: that something was changed there, as restore and disyre
        say; product: l1 times its root; relative: product in units of what healthy scans have there, as far as the
        model knows; anomaly: what the method itself finds (andi, autoddpm, thor); perceptual: how unlike the model's
        features of both are (uad-heal --perceptual); ssim: 1 - structural similarity, averaged over several
        windows; gradient: steepness of scan - healed; mahalanobis: l1 in units of the spread over several draws;
        equalised: l1 of the shares of the brain that are no brighter, as of histogram equalisation.
        Default: anomaly, relative, product or l1, the first that there are maps for."""),
    signed: Signed = o.option(
        f"""--signed {o.choices(Signed)}  Score only what is brighter, or darker, than its healed self;
        hyperintense: for FLAIR, weighs what is brighter by how bright it is.""",
        "both",
    ),
    contrast: str = o.option(
        """--contrast mean|max|NAME
        Of several contrasts that were healed together: the mean of their scores, the largest, or the score of one.""",
        "mean",
    ),
    spread: Path | None = o.option("""--spread FILE
        For --metric mahalanobis: the spread that uad-heal --maps writes; default: the stream's."""),
    probability: Path | None = o.option("""--probability FILE
        For --metric product and probability: the map that uad-heal wrote; default: the stream's, or the one beside
        HEALED."""),
    region: Path | None = o.option("""--region FILE
        Where the score counts: the region that uad-heal --maps writes for ldm; default: the stream's."""),
    reference: Path | None = o.option("""--reference FILE
        Put the score in units of what healthy scans score there, which uad-calibrate --reference learns: (score -
        mean) / standard deviation."""),
    brain: Path | None = o.option("--brain FILE  Brain mask on the scan's grid; default: where the scan is above 0."),
    native: bool = o.flag("--native  Put the score on the grid of the original scan, linearly (a last step)."),
    strict: bool = o.STRICT,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    provenance: bool = o.PROVENANCE,
    anonymous: bool = o.ANONYMOUS,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Score how much each voxel of a scan differs from its healed self; --json gives numbers for the whole scan."""
    from uadtools.cohort.score import score_all

    tell = c.teller("uad-score", quiet)
    results = score_all(
        inputs or (() if bids else "-"),
        output,
        scan=scan or (),
        bids=bids,
        suffix=suffix,
        metric=metric,
        signed=signed,
        contrast=contrast,
        spread=spread,
        probability=probability,
        region=region,
        reference=reference,
        brain=brain,
        native=native,
        volume=volume,
        geometry=geometry,
        provenance=provenance,
        anonymous=anonymous,
        force=force,
        as_json=as_json,
        tell=tell,
        fail=c.teller_of_faults("uad-score"),
        verbose=verbose,
    )
    if as_json:
        c.print_json(results)
    c.tell_done(results, tell)
    c.leave(results, strict)


COMMAND = c.Command(score, "uad-score", EXAMPLES, ("--scan",), renamed={"--normal": "--reference"})
main = COMMAND.run
