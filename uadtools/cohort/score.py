"""The scores of a scan and its healed self, or of a stream of studies, in one call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uadtools.cohort.results import Result, Tell, carried, silent
from uadtools.cohort.sink import Sink
from uadtools.cohort.sources import Sources, named, some_words, studies
from uadtools.errors import Misuse, UadError
from uadtools.scoring.case_scores import case_scores
from uadtools.scoring.normal import normalise, read_normal
from uadtools.scoring.score import Metric, Signed, case_score, maps_of, score
from uadtools.volume.chain import to_native
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, base_name, last_by, read_image, read_mask

PAIR = "SCAN HEALED"


def score_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    metric: Metric | None = None,
    signed: Signed = "both",
    spread: Path | str | None = None,
    probability: Path | str | None = None,
    region: Path | str | None = None,
    reference: Path | str | None = None,
    brain: Path | str | None = None,
    native: bool = False,
    volume: int | None = None,
    provenance: bool = True,
    anonymous: bool = False,
    force: bool = False,
    as_json: bool = False,
    tell: Tell = silent,
    verbose: bool = False,
) -> list[Result]:
    """Score as uad-score does, and write the maps; returns, for each study, what `uad-score --json` says of it.

    sources: a scan and its healed self, a file of both, or "-" for a stream on standard input. output: a file, a
    folder, or "-" for a stream on standard output; none: the current folder, or a stream where the source is one.
    spread, probability, region: maps that uad-heal made, in place of the study's. reference: what `uad-calibrate
    --reference` wrote. as_json: no stream, and the case scores in the results. tell: gets a line for each study, if
    verbose. Raises UadError.
    """
    inputs = some_words(sources)
    if len(inputs) > 2 or (len(inputs) == 2 and "-" in inputs):
        raise Misuse(f"{PAIR}: {' '.join(inputs)}: two files, or one stream")
    maps = {"spread": spread, "probability": probability, "region": region}
    for role in ("spread", "probability"):
        if maps[role] and role not in maps_of(metric):
            raise Misuse(f"--{role}: has no effect with --metric {metric or 'l1'} (leave it out)")
    sink = Sink.of(
        "score", inputs[:1], output, force=force, provenance=provenance, anonymous=anonymous, as_json=as_json
    )
    healthy = None if reference is None else read_normal(Path(reference))
    images = [] if brain is None else [read_mask(Path(brain))]
    images += [_map(Path(path), role) for role, path in maps.items() if path is not None]
    wanted = [role for role in maps_of(metric) if maps.get(role) is None]
    results: list[Result] = []
    for study in _pair(inputs, volume, wanted) if len(inputs) == 2 else studies(inputs, volume):
        path = sink.claim(study)
        scored = score(study.adding(*study.images.values(), *images), metric=metric, signed=signed)
        scored = normalise(scored, healthy) if healthy else scored
        number = case_score(scored)
        if math.isnan(number):
            raise UadError(f"{study.name}: no voxel above background, so there is no brain to score")
        figures: dict[str, Any] = asdict(case_scores(scored)) if as_json else {}
        if native:
            scored = scored.adding(to_native(scored.product, study.name))
        arguments = scored.need("score").provenance["history"][-2 if healthy else -1]["arguments"]
        figures |= {"metric": arguments["metric"], "signed": signed, "normal": reference and str(reference)}
        results.append({"name": study.name, "output": sink.write(scored, path), **figures, **carried(scored)})
        if verbose:
            tell(f"{study.name}: case score {number:.5f}")
    return results


def _pair(inputs: Sequence[str], volume: int | None, wanted: Sequence[str]) -> Iterator[Study]:
    """Make a study of two files, scan and healed, with the maps wanted of those that were written beside healed."""
    scan, healed = (read_image(Path(path), volume) for path in inputs)
    if scan.role == "healed":
        raise Misuse(f"{PAIR}: {inputs[0]} is a healed scan (name the scan first)")
    if healed.role != "healed" and healed.provenance.get("history"):
        raise Misuse(f"{PAIR}: {inputs[1]} is a {healed.role} and no healed scan (uad-heal makes one)")
    images = {"healed": healed.derive(healed.data, "healed"), "scan": scan.derive(scan.data, "scan")}
    for role in (role for role in last_by(healed, "uad-heal").get("maps", []) if role in wanted):
        beside = Path(inputs[1]).with_name(f"{base_name(Path(inputs[1]))}_{role}.nii.gz")
        if not beside.exists():
            raise UadError(f"{beside}: not there, and part of the score (uad-heal wrote it beside HEALED; --metric l1)")
        images[role] = read_image(beside)
    yield named(Study("", images), base_name(Path(inputs[0])))


def _map(path: Path, role: str) -> Image:
    image = read_image(path)
    return image.derive(image.data, role)
