"""uad-postproc."""

from __future__ import annotations

from pathlib import Path

from uadtools.program import command as c
from uadtools.program import options as o

EXAMPLES = """
  uad-postproc scan_score.nii.gz --native                     writes scan_detection.nii.gz, on the grid of the raw scan
  uad-heal raw.nii.gz -o - | uad-score | uad-postproc --adapt -o lesions.nii.gz    a scan of another scanner
  uad-postproc scan_score.nii.gz --dicom-seg DICOM/           writes scan_detection.dcm, too, for a PACS
  uad-score a_preprocessed.nii.gz a_healed.nii.gz -o - | uad-postproc --threshold 0.1 --min-size 20 -o lesions.nii.gz
"""


def postproc(
    inputs: list[str] | None = o.INPUTS,
    output: str | None = o.OUTPUT,
    bids: Path | None = o.BIDS,
    suffix: str | None = o.SUFFIX,
    median: int | None = o.MEDIAN,
    smooth: float | None = o.SMOOTH,
    erode: int | None = o.ERODE,
    threshold: str = o.option(
        """--threshold model|otsu|scanwise|voxelwise|X|FILE.json
        Detect what scores above this. model: what the model recommends for the way of healing, if it knows it and
        the metric is its own, else otsu; scanwise, voxelwise: what uad-calibrate found for the bundled model that
        healed the scan and its default healing; FILE.json: written by uad-calibrate, with the steps it holds for.""",
        "model",
    ),
    min_size: int | None = o.MIN_SIZE,
    dilate: int | None = o.DILATE,
    largest: bool | None = o.LARGEST,
    brain: Path | None = o.option("""--brain FILE
        Brain mask on the score's grid; default: the stream's, else where the score is above 0."""),
    native: bool = o.flag("--native  Put the detection on the grid of the original scan."),
    dicom_seg: Path | None = o.option("""--dicom-seg DIR
        Write the detection as DICOM-SEG, too, beside its file (NAME.dcm), for the series in this folder, which the scan
        came from; with --native, which this implies."""),
    series: str | None = o.SERIES,
    adapt: bool = o.flag("""--adapt
        Raise the threshold for a scan whose scores are higher everywhere, by as much as their median is above that
        of healthy scans: fewer false alarms on other scanners and contrasts."""),
    force_detection: bool = o.flag("""--force-detection
        Detect also in scans that are unlike what the model learnt from. Default: nothing."""),
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
    """Turn score maps into detections: filtered, eroded brain, threshold, small components dropped."""
    from uadtools.cohort.postproc import postproc_all

    tell = c.teller("uad-postproc", quiet)
    results = postproc_all(
        inputs or (() if bids else "-"),
        output,
        bids=bids,
        suffix=suffix,
        threshold=threshold,
        brain=brain,
        native=native,
        dicom_seg=dicom_seg,
        series=series,
        adapt=adapt,
        force_detection=force_detection,
        volume=volume,
        geometry=geometry,
        provenance=provenance,
        anonymous=anonymous,
        force=force,
        as_json=as_json,
        tell=tell,
        fail=c.teller_of_faults("uad-postproc"),
        verbose=verbose,
        median=median,
        smooth=smooth,
        erode=erode,
        min_size=min_size,
        dilate=dilate,
        largest=largest,
    )
    if as_json:
        c.print_json(results)
    c.tell_done(results, tell)
    c.leave(results, strict)


COMMAND = c.Command(postproc, "uad-postproc", EXAMPLES)
main = COMMAND.run
