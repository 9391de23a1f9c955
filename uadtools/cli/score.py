"""uad-score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from uadtools.cli import _common as c
from uadtools.cli import _options as o
from uadtools.errors import UadError

if TYPE_CHECKING:
    from uadtools.volume.io import Image
    from uadtools.volume.stream import Study

EXAMPLES = """
  uad-score scan_preprocessed.nii.gz scan_healed.nii.gz       writes scan_score.nii.gz
  uad-heal scan_preprocessed.nii.gz -o - | uad-score --json   prints the case scores
  uad-heal a.nii.gz --samples 8 -o - | uad-score --metric mahalanobis -o a_score.nii.gz
"""
Metric = Literal["l1", "l2", "product", "relative", "probability", "ssim", "gradient", "mahalanobis"]
Signed = Literal["both", "bright", "dark"]


def score(
    inputs: list[str] | None = o.argument("""SCAN HEALED
        Two files, or - for a stream on standard input (which no argument means, too)."""),
    output: str | None = o.OUTPUT,
    metric: Metric | None = o.option(f"""--metric {o.choices(Metric)}
        l1: |scan - healed|; l2: its square; probability: that something was changed there, as restore and disyre
        say; product: l1 times its root; relative: product in units of what healthy scans have there, as far as the
        model knows; ssim: 1 - structural similarity, averaged over several windows; gradient: steepness of scan -
        healed; mahalanobis: l1 in units of the spread over several draws. Default: relative, product or l1, the
        first that there are maps for."""),
    signed: Signed = o.option(
        f"--signed {o.choices(Signed)}  Score only what is brighter, or darker, than its healed self.", "both"
    ),
    spread: Path | None = o.option("""--spread FILE
        For --metric mahalanobis: the spread that uad-heal --maps writes; default: the stream's."""),
    probability: Path | None = o.option("""--probability FILE
        For --metric product and probability: the map that uad-heal wrote; default: the stream's, or the one beside
        HEALED."""),
    region: Path | None = o.option("""--region FILE
        Where the score counts: the region that uad-heal --maps writes for ldm; default: the stream's."""),
    normal: Path | None = o.option("""--normal FILE
        Put the score in units of what healthy scans score there, which uad-calibrate --residuals learns: (score -
        mean) / standard deviation."""),
    brain: Path | None = o.option("--brain FILE  Brain mask on the scan's grid; default: where the scan is above 0."),
    native: bool = o.flag("--native  Put the score on the grid of the original scan, linearly (a last step)."),
    volume: int | None = o.VOLUME,
    provenance: bool = o.PROVENANCE,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
) -> None:
    """Score how much each voxel of a scan differs from its healed self; --json gives numbers for the whole scan."""
    from uadtools.cohort.results import carried
    from uadtools.cohort.sink import Sink
    from uadtools.cohort.sources import studies
    from uadtools.scoring.case_scores import case_scores
    from uadtools.scoring.normal import normalise, read_normal
    from uadtools.scoring.score import case_score, maps_of
    from uadtools.scoring.score import score as work
    from uadtools.volume.chain import to_native
    from uadtools.volume.stream import read_mask

    if inputs and (len(inputs) > 2 or (len(inputs) == 2 and "-" in inputs)):
        raise c.usage(f"{' '.join(inputs)}: two files, or one stream", "SCAN HEALED")
    for option, path in (("spread", spread), ("probability", probability)):
        if path and option not in maps_of(metric):
            raise c.usage(f"has no effect with --metric {metric or 'l1'} (leave it out)", f"--{option}")
    sink = Sink.of("score", inputs and inputs[:1], output, force=force, provenance=provenance, as_json=as_json)
    healthy = normal and read_normal(normal)
    maps = {"spread": spread, "probability": probability, "region": region}
    given = [
        image
        for image in (read_mask(brain) if brain else None, *(_map(path, role) for role, path in maps.items()))
        if image
    ]
    results: list[dict[str, Any]] = []
    wanted = [role for role in maps_of(metric) if maps.get(role) is None]
    for study in _pair(inputs, volume, wanted) if inputs and len(inputs) == 2 else studies(inputs, volume):
        path = sink.claim(study)
        made = work(study.adding(*study.images.values(), *given), metric=metric, signed=signed)
        if healthy:
            made = normalise(made, healthy)
        number = case_score(made)
        if math.isnan(number):
            raise UadError(f"{study.name}: no voxel above background, so there is no brain to score")
        told = asdict(case_scores(made)) if as_json else {}
        if native:
            made = made.adding(to_native(made.product, study.name))
        how = made.need("score").provenance["history"][-2 if healthy else -1]["arguments"]
        told |= {"metric": how["metric"], "signed": signed, "normal": normal and str(normal)}
        results.append({"name": study.name, "output": sink.write(made, path), **told, **carried(made)})
        if verbose:
            c.teller("uad-score", quiet)(f"{study.name}: case score {number:.5f}")
    if as_json:
        c.print_json(results)


def _pair(inputs: Sequence[str], volume: int | None, wanted: Sequence[str]) -> Iterator[Study]:
    """Make a study of two files, scan and healed, with the maps wanted of those that were written beside healed."""
    from uadtools.cohort.sources import named
    from uadtools.volume.stream import Study, base_name, last_by, read_image

    scan, healed = (read_image(Path(path), volume) for path in inputs)
    if scan.role == "healed":
        raise c.usage(f"{inputs[0]} is a healed scan (name the scan first)", "SCAN HEALED")
    if healed.role != "healed" and healed.provenance.get("history"):
        raise c.usage(f"{inputs[1]} is a {healed.role} and no healed scan (uad-heal makes one)", "SCAN HEALED")
    images = {"healed": healed.derive(healed.data, "healed"), "scan": scan.derive(scan.data, "scan")}
    for role in (role for role in last_by(healed, "uad-heal").get("maps", []) if role in wanted):
        beside = Path(inputs[1]).with_name(f"{base_name(Path(inputs[1]))}_{role}.nii.gz")
        if not beside.exists():
            raise UadError(f"{beside}: not there, and part of the score (uad-heal wrote it beside HEALED; --metric l1)")
        images[role] = read_image(beside)
    yield named(Study("", images), base_name(Path(inputs[0])))


def _map(path: Path | None, role: str) -> Image | None:
    """Read a map that uad-heal --maps wrote, if there is one."""
    from uadtools.volume.stream import read_image

    if path is None:
        return None
    image = read_image(path)
    return image.derive(image.data, role)


COMMAND = c.Command(score, "uad-score", EXAMPLES)
main = COMMAND.run
