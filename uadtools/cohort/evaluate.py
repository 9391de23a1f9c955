"""Many predictions judged in one call, each with what lies beside it: truth, brain mask, scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from uadtools.cohort.results import Tell, silent
from uadtools.cohort.sources import Sources, listed, some_words, studies
from uadtools.concerns import Concern, told
from uadtools.errors import Misuse
from uadtools.evaluation.evaluate import Case, Wanted, case, judge, kind_of, with_scan
from uadtools.evaluation.reports import Report
from uadtools.report.picture import check_picture
from uadtools.report.picture import picture as draw
from uadtools.report.plots import check_plots, plot
from uadtools.scoring.postproc import read_threshold, scans_of
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, concerns_of, read_image, read_mask


def evaluate_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    *,
    truth: Sources = (),
    brain: Sources = (),
    scan: Sources = (),
    best: bool = False,
    threshold_from: Path | str | None = None,
    lesions: bool = False,
    picture: Path | str | None = None,
    plots: Mapping[str, Path | str] | None = None,
    seed: int = 0,
    volume: int | None = None,
    force: bool = False,
    tell: Tell = silent,
    verbose: bool = False,
) -> Report:
    """Judge predictions as uad-eval does; returns the report of docs/eval.md.

    sources: detections, score maps or healed scans, or "-" for a stream on standard input. truth, brain, scan: one for
    each of them, in their order; none: what the stream holds. threshold_from: a file that uad-calibrate or uad-eval
    wrote. picture: draws the study, if it is an only one; plots: files by kind. tell: gets a line where the threshold
    was chosen on these scans, and with verbose for each. Raises UadError.
    """
    beside = Beside(some_words(sources), listed(truth), listed(brain), listed(scan))
    files = {kind: Path(path) for kind, path in (plots or {}).items()}
    check_plots(files, force=force)
    if picture is not None:
        check_picture(Path(picture), force=force)
    beside.check(alone=picture is not None)
    threshold = None if threshold_from is None else read_threshold(Path(threshold_from))
    last: list[tuple[Study, Image | None]] = []
    concerns: list[Concern] = []

    def watched() -> Iterator[Case]:
        for study, label, prediction in beside.cases(volume):
            if last and picture is not None:
                raise Misuse(ALONE)
            last[:] = [(study, label)]
            concerns.extend(concern.about(study.name) for concern in concerns_of(study.product))
            if verbose:
                tell(f"{study.name}: {int(prediction.within.sum()):,} voxels")
            yield prediction

    judged = judge(watched(), Wanted(best, threshold, lesions), seed=seed)
    judged.report["concerns"] = told(concerns)
    for kind, path in files.items():
        plot(judged, kind, path, force=force)
    if picture is not None:
        draw(last[0][0], Path(picture), truth=last[0][1], force=force)
    if threshold_from and (same := {row["name"] for row in judged.report["scans"]} & {*scans_of(Path(threshold_from))}):
        tell(f"{threshold_from} was chosen on {min(same)}, too: these figures are ceilings, not performance")
    return judged.report


ALONE = "--picture: draws one study at a time"


@dataclass(frozen=True)
class Beside:
    """Predictions, and the files that lie beside each of them; where there are none, the stream has it."""

    inputs: list[str]
    truths: list[str]
    brains: list[str]
    scans: list[str]

    def check(self, *, alone: bool) -> None:
        """Refuse numbers of files that do not fit one another; how many predictions a stream holds is seen later."""
        beside = {
            "truths": ("--truth", self.truths),
            "brain masks": ("--brain", self.brains),
            "scans": ("--scan", self.scans),
        }
        count, what = (len(self.inputs), "predictions") if "-" not in self.inputs else (0, "")
        for name, (option, files) in beside.items():
            if files and count and len(files) != count:
                raise Misuse(f"{option}: {len(files)} {name} for {count} {what}")
            if files and not count:
                count, what = len(files), name
        if alone and count > 1:
            raise Misuse(ALONE)

    def cases(self, volume: int | None) -> Iterator[tuple[Study, Image | None, Case]]:
        """Bring each prediction together with what lies beside it; the image is its truth."""
        beside = list(zip_longest(self.truths, self.brains, self.scans))
        for study, files in zip_longest(studies(self.inputs, volume), beside):
            if study is None or (beside and files is None):
                option = "--truth" if self.truths else "--brain" if self.brains else "--scan"
                stream = f"the stream holds {'more' if study else 'fewer'} scans"
                raise Misuse(f"{option}: {len(beside)} {option[2:]}s, and {stream}")
            truth, brain, scan = files or (None, None, None)
            whole = study if scan is None else with_scan(study, read_image(Path(scan)))
            label = read_image(Path(truth)) if truth else whole.images.get("truth")
            if label is None and kind_of(whole) != "reconstruction":
                raise Misuse("--truth: give the experts' masks, one for each prediction")
            yield whole, label, case(whole, label, read_mask(Path(brain)) if brain else None)
