"""The detections of many score maps in one call, and the chain that words choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from uadtools.cohort.each import each
from uadtools.cohort.results import Result, carried, done_before
from uadtools.concerns import Tell, silent
from uadtools.datasets.beside import with_given
from uadtools.datasets.origin import Origin
from uadtools.datasets.sink import Sink
from uadtools.datasets.sources import Inputs, Sources
from uadtools.errors import Misuse
from uadtools.files import check_free
from uadtools.grids.placement import Form
from uadtools.report.findings import PLACES
from uadtools.report.tables import found
from uadtools.scoring.dicom_seg import SourceSeries
from uadtools.scoring.postproc import Steps, own_steps, postproc, score_of
from uadtools.scoring.threshold_files import bundled_steps, read_steps
from uadtools.volume.chain import voxel_ml
from uadtools.volume.clean import components
from uadtools.volume.io import Image, stem
from uadtools.volume.reading import AS_IT_IS, Reading
from uadtools.volume.stream import Study, fingerprint, last_by, read_mask


def postproc_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    bids: Path | str | None = None,
    suffix: str | None = None,
    threshold: float | str = "model",
    brain: Path | str | None = None,
    native: bool = False,
    dicom_seg: Path | str | None = None,
    series: str | None = None,
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
    threshold: a number, a word or a file, see `uad-postproc --help`. dicom_seg: the folder of DICOM that the scan came
    from, and series which one there: the detection, native then, is written as DICOM-SEG beside its file, too.
    steps: median, smooth, erode, min_size, dilate, largest. tell: gets a line for each study, and for whatever else the
    user should know. Of several files, one that fails does not stop the others: fail gets the line, and its result an
    `error`; what is done is skipped. Raises UadError for an only one, and for what is wrong with all.
    """
    reading, native = Reading(volume, geometry), native or dicom_seg is not None
    how: dict[str, Any] = {"native": native, "adapt": adapt, "force_detection": force_detection, **steps}
    detecting = Detecting.of(threshold=threshold, brain=brain, reading=reading.beside, tell=tell, **how)
    inputs = Inputs.of(sources, output, bids, suffix, step=("score", "detection"), called=("score",), tell=tell)
    writing: dict[str, Any] = {"force": force, "provenance": provenance, "as_json": as_json, "places": inputs.places}
    writing |= {"anonymous": anonymous, "resumed": True, "several": inputs.several}
    sink = Sink.of("detection", inputs.files, inputs.output, **writing)
    source = _source(sink, inputs, dicom_seg, series)
    if threshold in ("scanwise", "voxelwise") and inputs.files == ["-"]:
        tell(
            f"--threshold {threshold} holds for the default healing of a bundled model and its own metric; others "
            "are refused when they come (no -t, --samples, --flips, --metric or --signed, or --threshold X)"
        )

    def work(file: str) -> Iterator[Result]:
        for study in inputs.studies(file, reading, tell):
            path, origin = sink.path(study.name), detecting.origin(study)
            made = sink.done(path, origin)
            beside = path.with_name(f"{stem(path)}.dcm") if source and path else None
            written = {"dicom_seg": str(beside)} if beside else {}
            if made and not (beside and not beside.exists()):
                known = replace(detecting, tell=silent).figures(Study(study.name, {made.role: made}))
                yield done_before(study.name, path, made) | known | written
                continue
            path = sink.claim(study)
            if beside and beside.parent.exists():
                check_free(beside, force=force)
            detected = origin.noted(detecting(study))
            detected = source.checked(detected, tell) if source and beside else detected
            output = sink.write(detected, path)
            if source and beside:
                source.write(detected.product, beside, force=force)
            yield {"name": study.name, "output": output, **detecting.figures(detected), **written}

    return each(inputs, work, fail)


@dataclass(frozen=True)
class Detecting:
    """Detects in one study after the other. chain: of a study; brain: in place of its own; options: of postproc."""

    chain: Callable[[Study], Steps]
    brain: Image | None
    options: dict[str, Any]
    tell: Tell

    @classmethod
    def of(
        cls,
        *,
        threshold: float | str = "model",
        brain: Path | str | None = None,
        native: bool = False,
        adapt: bool = False,
        force_detection: bool = False,
        reading: Reading = AS_IT_IS,
        tell: Tell = silent,
        **steps: Any,
    ) -> Detecting:
        """Settle how to detect, in uad-postproc's words. Raises UadError."""
        chain = chain_of(str(threshold), **steps)
        mask = None if brain is None else read_mask(Path(brain), reading, tell=tell)
        options = {"native": native, "adapt": adapt, "force_detection": force_detection}
        return cls(chain, mask, options, tell)

    def origin(self, study: Study) -> Origin:
        """Say what a detection is made of."""
        settings = [asdict(self.chain(study)), self.brain and fingerprint(self.brain), self.options]
        return Origin.of(
            "uad-postproc", study.name, [*settings, study.product.provenance.get("history")], score_of(study)
        )

    def __call__(self, study: Study) -> Study:
        """Add a study's detection. Raises UadError."""
        given = [self.brain] if self.brain else []
        return postproc(with_given(study, *given), self.chain(study), tell=self.tell, **self.options)

    def figures(self, detected: Study) -> Result:
        """Return what `uad-postproc --json` says of a detection, and tell how much it is."""
        detection = detected.product
        arguments = last_by(detection, "uad-postproc").get("arguments", {})
        level, origin = arguments.get("threshold"), arguments.get("threshold_from")
        count, findings = int(detection.data.sum()), components(detection.data)
        amount = count * voxel_ml(detection)
        if level is not None and "withheld" not in arguments:  # which was told
            self.tell(f"{detected.name}: {found(amount, findings)} above {level:.4g} ({origin})")
        return {
            "threshold": level,
            "threshold_from": origin,
            "raised": arguments.get("raised", 1.0),
            "detected_voxels": count,
            "detected_ml": round(amount, PLACES),
            "findings": findings,
            "withheld": "withheld" in arguments,
            **carried(detected),
        }


def _source(sink: Sink, inputs: Inputs, folder: Path | str | None, series: str | None) -> SourceSeries | None:
    """Return the series that a DICOM-SEG is for; None where none is asked for. Raises Misuse where none can be."""
    if folder is None:
        if series:
            raise Misuse(f"--series: {series} chooses a series of --dicom-seg (name its folder there)")
        return None
    if inputs.several:
        raise Misuse("--dicom-seg: a series is of one scan, and there are several inputs (name one)")
    if sink.target is None:
        raise Misuse("--dicom-seg: is written beside the detection's file (name that with -o)")
    if sink.anonymous:
        raise Misuse("--dicom-seg: names the patient as the series does (leave out --anonymous)")
    return SourceSeries.of(Path(folder), series)


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
