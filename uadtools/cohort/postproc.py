"""The detections of many score maps in one call, and the chain that words choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from uadtools.cohort.each import each
from uadtools.cohort.results import Result, carried, done_before
from uadtools.concerns import Tell, silent
from uadtools.datasets.origin import Origin
from uadtools.datasets.sink import Sink
from uadtools.datasets.sources import Inputs, Sources
from uadtools.errors import Misuse
from uadtools.grids.placement import Form
from uadtools.report.tables import found
from uadtools.scoring.postproc import Steps, bundled_steps, own_steps, postproc, read_steps, score_of
from uadtools.volume.chain import voxel_ml
from uadtools.volume.clean import components
from uadtools.volume.io import Image
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, fingerprint, last_by, read_mask, with_brain


def postproc_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    bids: Path | str | None = None,
    suffix: str | None = None,
    threshold: float | str = "model",
    brain: Path | str | None = None,
    native: bool = False,
    adapt: bool = False,
    force_detection: bool = False,
    volume: int | None = None,
    geometry: Form | None = None,
    provenance: bool = True,
    anonymous: bool = False,
    force: bool = False,
    as_json: bool = False,
    tell: Tell = silent,
    fail: Tell = silent,
    verbose: bool = False,
    **steps: Any,
) -> list[Result]:
    """Detect as uad-postproc does, and write; returns, for each study, what `uad-postproc --json` says of it.

    sources: score maps, folders and lists of them, or "-" for a stream on standard input. bids: instead, the
    derivatives that uad-score made there, of scans with this suffix. output: a file, a folder, or "-" for a stream on
    standard output; none: the current folder, the data set, or a stream where the source is one (none for as_json).
    threshold: a number, a word or a file, see `uad-postproc --help`. steps: median, erode, min_size, dilate, largest.
    tell: gets a line for each study, and for whatever else the user should know. Of several files, one that fails does
    not stop the others: fail gets the line, and its result an `error`; what is done is skipped. Raises UadError for an
    only one, and for what is wrong with all.
    """
    chain, reading = chain_of(str(threshold), **steps), Reading(volume, geometry)
    inputs = Inputs.of(sources, output, bids, suffix, step=("score", "detection"), called="score", tell=tell)
    writing: dict[str, Any] = {"force": force, "provenance": provenance, "as_json": as_json, "places": inputs.places}
    writing |= {"anonymous": anonymous, "resumed": True, "several": inputs.several}
    sink = Sink.of("detection", inputs.files, inputs.output, **writing)
    options: dict[str, Any] = {"native": native, "adapt": adapt, "force_detection": force_detection}
    mask = None if brain is None else read_mask(Path(brain), reading.beside, tell=tell)
    inside = mask and fingerprint(mask)
    if threshold in ("scanwise", "voxelwise") and inputs.files == ["-"]:
        tell(
            f"--threshold {threshold} holds for the default healing of a bundled model and its own metric; others "
            "are refused when they come (no -t, --samples, --flips, --metric or --signed, or --threshold X)"
        )

    def work(file: str) -> Iterator[Result]:
        for study in inputs.studies(file, reading, tell):
            steps, path = chain(study), sink.path(study.name)
            settings = [asdict(steps), options, inside, study.product.provenance.get("history")]
            origin = Origin.of("uad-postproc", study.name, settings, score_of(study))
            if made := sink.done(path, origin):
                yield done_before(study.name, path, made) | _figures(made)
                continue
            path = sink.claim(study)
            detected = origin.noted(postproc(with_brain(study, mask), steps, tell=tell, **options))
            result: Result = {"name": study.name, "output": sink.write(detected, path)}
            result |= {**_figures(detected.product), **carried(detected)}
            yield result
            if not result["withheld"]:  # which was told
                amount = f"{found(result['detected_ml'], result['findings'])} above {result['threshold']:.4g}"
                tell(f"{study.name}: {amount} ({result['threshold_from']})")

    return each(inputs, work, fail)


def _figures(detection: Image) -> Result:
    """Return what was detected, and what the detection's history says of how."""
    arguments, count = last_by(detection, "uad-postproc").get("arguments", {}), int(detection.data.sum())
    return {
        "threshold": arguments.get("threshold"),
        "threshold_from": arguments.get("threshold_from"),
        "raised": arguments.get("raised", 1.0),
        "detected_voxels": count,
        "detected_ml": count * voxel_ml(detection),
        "findings": components(detection.data),
        "withheld": "withheld" in arguments,
    }


def chosen(**steps: Any) -> dict[str, Any]:
    """Return the steps that are given. Raises Misuse for an even median."""
    if (steps.get("median") or 1) % 2 == 0:
        raise Misuse(f"--median: {steps['median']}: the size must be odd")
    return {name: value for name, value in steps.items() if value is not None}


def chain_of(threshold: str, **steps: Any) -> Callable[[Study], Steps]:
    """Return what makes a study's chain: the model's own but for the steps given, and a threshold.

    threshold: a word, a number, or a file, which may say the other steps, too.
    """
    given = chosen(**steps)
    if threshold in ("scanwise", "voxelwise"):
        return partial(bundled_steps, rule=threshold, **given)
    if threshold.endswith(".json"):
        read = read_steps(Path(threshold), **given)
        return lambda study: read
    return partial(own_steps, threshold=_level(threshold), **given)


def _level(text: str) -> float | str:
    if text in ("otsu", "model"):
        return text
    try:
        level = float(text)
    except ValueError:
        level = float("nan")
    if not 0 <= level < float("inf"):
        raise Misuse(f"--threshold: {text}: a number from 0, otsu, model, scanwise, voxelwise, or a .json file")
    return level
