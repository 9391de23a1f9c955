"""Many predictions judged in one call, each with what lies beside it: truth, brain mask, scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path

from uadtools.concerns import Concern, Tell, read_concerns, silent, tell_concerns, told, united
from uadtools.datasets.beside import read_group
from uadtools.datasets.pairs import Names, Seen, by_order
from uadtools.datasets.sources import Sources, image_beside, listed, some_words, studies
from uadtools.errors import Misuse
from uadtools.evaluation.boxes import BoxTable, table_of
from uadtools.evaluation.evaluate import Case, Evaluation, Wanted, case, judge, kind_of, with_scan
from uadtools.evaluation.normative import looking
from uadtools.evaluation.reports import Report
from uadtools.grids.placement import Form
from uadtools.metrics.lesions import OVERLAP
from uadtools.report.judgement import judged_page
from uadtools.report.layers import COLOURS
from uadtools.report.page import check_page, write_page
from uadtools.report.picture import check_picture
from uadtools.report.picture import picture as draw
from uadtools.report.plots import check_plots, plot
from uadtools.scoring.threshold_files import read_threshold, scans_of
from uadtools.volume.io import Image
from uadtools.volume.labels import BY_THEMSELVES, Choice
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study, concerns_of


def evaluate_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    *,
    truth: Sources = (),
    brain: Sources = (),
    scan: Sources = (),
    match: bool = False,
    label: Sequence[int] = (),
    ignore: Sequence[int] = (),
    best: bool = False,
    threshold_from: Path | str | None = None,
    lesions: bool = False,
    overlap: float | None = None,
    boxes: bool = False,
    truth_boxes: Path | str | None = None,
    features: Path | str | None = None,
    normal: Sources = (),
    picture: Path | str | None = None,
    report: Path | str | None = None,
    plots: Mapping[str, Path | str] | None = None,
    seed: int = 0,
    volume: int | None = None,
    geometry: Form | None = None,
    force: bool = False,
    tell: Tell = silent,
    verbose: bool = False,
) -> Report:
    """Judge predictions as uad-eval does; returns the report of docs/eval.md.

    sources: detections, score maps or healed scans, or "-" for a stream on standard input. truth, brain, scan: one for
    each of them, in their order or, with match, by their names; none: what the stream holds. label, ignore: which
    labels of a truth count as lesion, and which neither way. threshold_from: a file that uad-calibrate or uad-eval
    wrote. overlap: the share of lesions that finds them, see metrics.lesions. boxes: tell of bounding boxes, those of
    the truth or, in its place, of a table truth_boxes (evaluation.boxes). features: a file or model by which healed
    scans are looked at; normal: prepared healthy scans that these are held against as a set (evaluation.normative).
    picture, report: draw the study, if it is an only one, report as uad-report does; plots: files by kind. tell: gets
    the concerns, a line where the threshold was chosen on these scans, and with verbose one for each. Raises UadError.
    """
    if overlap is not None and not lesions:
        raise Misuse("--overlap: has an effect only with --lesions")
    choice = Choice(tuple(label), tuple(ignore))
    table = table_of(truth_boxes)
    normative = looking(features, listed(normal), tell)
    beside = Beside(some_words(sources), listed(truth), listed(brain), listed(scan), match, choice, table)
    files = {kind: Path(path) for kind, path in (plots or {}).items()}
    check_plots(files, force=force)
    alone = {option: Path(file) for option, file in (("--picture", picture), ("--report", report)) if file is not None}
    for option, file in alone.items():
        (check_picture if option == "--picture" else check_page)(file, force=force)
    beside.check([*alone])
    threshold = None if threshold_from is None else read_threshold(Path(threshold_from))
    last: list[tuple[Study, Image | None]] = []
    earlier: list[Concern] = []

    def watched() -> Iterator[Case]:
        for study, expert, prediction in beside.cases(Reading(volume, geometry), tell):
            if last and alone:
                raise Misuse(f"{next(iter(alone))}: {ALONE}")
            last[:] = [(study, expert)]
            read = concerns_of(study.product, *filter(None, [expert]))
            earlier.extend(concern.about(study.name) for concern in read)
            if verbose:
                tell(f"{study.name}: {int(prediction.within.sum()):,} voxels")
            yield prediction if normative is None else normative.seen(study, prediction)

    share = OVERLAP if overlap is None else overlap
    judged = judge(watched(), Wanted(best, threshold, lesions, share, any((boxes, table))), seed=seed)
    if normative is not None:
        judged.report["normative"] = normative.told()
    concerns = united(beside.concerns(), read_concerns(judged.report["concerns"]))
    judged.report["concerns"] = told(earlier, concerns)
    tell_concerns(concerns, tell)
    _check_alike(concerns)
    for kind, path in files.items():
        plot(judged, kind, path, force=force)
    for option, file in alone.items():
        _show(option, file, *last[0], judged, (beside.inputs[0], Reading(volume, geometry)), force=force)
    _tell_ceiling(judged.report, threshold_from, tell)
    return judged.report


def _with_companions(study: Study, source: str, reading: Reading) -> Study:
    """Add what lies beside the file of a study and was made on the same way."""
    if source == "-" or study.product.role == "scan":  # nothing says what it is
        return study
    roles = [role for role in COLOURS if role not in ("truth", "hit")]
    (whole,) = read_group([Path(source)], roles, reading, silent)
    return Study(study.name, {**study.images, **{k: v for k, v in whole.images.items() if k not in study.images}})


def _show(
    option: str,
    file: Path,
    study: Study,
    truth: Image | None,
    judged: Evaluation,
    source: tuple[str, Reading],
    *,
    force: bool,
) -> None:
    """Draw the only study, as a picture or as a page."""
    if option == "--picture":
        draw(study, file, truth=truth, force=force)
    else:
        write_page(judged_page(judged, _with_companions(study, *source), truth), file, force=force)


def _check_alike(concerns: Sequence[Concern]) -> None:
    """Refuse truths of which label 2 is ignored in some, as the WMH challenge has it, and counts in others."""
    labels = {str(concern.value) for concern in concerns if concern.code == "labels" and ": truth:" in concern.text}
    if others := [held for held in labels if "," in held and held != "1,2"] if "1,2" in labels else []:
        held = f"some truths hold the labels 1,2, others {others[0]}, and label 2 would be ignored in some"
        raise Misuse(f"--label: {held} (say which count)")


def _tell_ceiling(report: Report, threshold_from: Path | str | None, tell: Tell) -> None:
    learnt = () if threshold_from is None else scans_of(Path(threshold_from))
    if same := {row["name"] for row in report["scans"]} & {*learnt}:
        tell(f"{threshold_from} was chosen on {min(same)}, too: these figures are ceilings, not performance")


ALONE = "draws one study at a time (uad-report --truth makes pages of several)"
Beside3 = tuple[str | None, str | None, str | None]
"""A truth, a brain mask and a scan."""


@dataclass(frozen=True)
class Beside:
    """Predictions, and the files that lie beside each of them; where there are none, the stream has it."""

    inputs: list[str]
    truths: list[str]
    brains: list[str]
    scans: list[str]
    match: bool = False
    choice: Choice = BY_THEMSELVES
    table: BoxTable | None = None
    seen: tuple[Seen, Seen] = field(default_factory=lambda: (Seen("prediction"), Seen("truth")))
    paired: list[tuple[str, str]] = field(default_factory=list)

    def check(self, alone: Sequence[str]) -> None:
        """Refuse numbers of files that do not fit one another; how many predictions a stream holds is seen later.

        alone: options that are for an only one.
        """
        beside = {
            "truths": ("--truth", self.truths),
            "brain masks": ("--brain", self.brains),
            "scans": ("--scan", self.scans),
        }
        if self.table and self.truths:
            raise Misuse("--truth-boxes: is in the place of --truth (give one of them)")
        count, what = (len(self.inputs), "predictions") if "-" not in self.inputs else (0, "")
        for name, (option, files) in beside.items():
            if files and count and len(files) != count:
                raise Misuse(f"{option}: {len(files)} {name} for {count} {what}")
            if files and not count:
                count, what = len(files), name
        if alone and count > 1:
            raise Misuse(f"{alone[0]}: {ALONE}")
        if self.match and not (self.truths or self.brains or self.scans):
            raise Misuse("--match: pairs files, and there is no --truth, --brain or --scan")

    def cases(self, reading: Reading, tell: Tell) -> Iterator[tuple[Study, Image | None, Case]]:
        """Bring each prediction together with what lies beside it; the image is its truth."""
        for study, (truth, brain, scan) in (self._by_name if self.match else self._by_order)(reading, tell):
            whole = study if scan is None else with_scan(study, image_beside(scan, reading.beside, tell))
            boxes, label = (None, None) if self.table is None else self.table.truth(study.name, study.product)
            if label is None:
                label = image_beside(truth, reading.beside, tell) if truth else whole.images.get("truth")
            if label is None and kind_of(whole) != "reconstruction":
                raise Misuse("--truth: give the experts' masks, one for each prediction")
            self.paired.extend([(study.name, truth)] if truth else [])
            for seen, image in zip(self.seen, (study.product, None if self.table else label), strict=True):
                if image is not None:
                    seen.add(study.name, image)
            inside = image_beside(brain, reading.beside, tell) if brain else None
            files = {"truth": truth, "brain": brain}
            yield whole, label, replace(case(whole, label, inside, self.choice, files=files), boxes=boxes)
        if self.table and (left := self.table.left()):
            raise Misuse(f"--truth-boxes: {left[0]} is none of the predictions (by the names of the report's scans)")

    def _by_order(self, reading: Reading, tell: Tell) -> Iterator[tuple[Study, Beside3]]:
        beside = list(zip_longest(self.truths, self.brains, self.scans))
        for study, files in zip_longest(studies(self.inputs, reading, tell), beside):
            if study is None or (beside and files is None):
                option = "--truth" if self.truths else "--brain" if self.brains else "--scan"
                stream = f"the stream holds {'more' if study else 'fewer'} scans"
                raise Misuse(f"{option}: {len(beside)} {option[2:]}s, and {stream}")
            yield study, files or (None, None, None)

    def _by_name(self, reading: Reading, tell: Tell) -> Iterator[tuple[Study, Beside3]]:
        options = {"--truth": self.truths, "--brain": self.brains, "--scan": self.scans}
        kinds = [Names(option, files) if files else None for option, files in options.items()]
        for study in studies(self.inputs, reading, tell):
            truth, brain, scan = (names.take(study.name) if names else None for names in kinds)
            yield study, (truth, brain, scan)
        for names in kinds:
            if names and (left := names.left()):
                raise Misuse(f"{names.option}: {left[0]} belongs to no prediction by its name (leave it out)")

    def concerns(self) -> Iterator[Concern]:
        """Tell of pairs that may be none, and of what is there twice."""
        return chain(by_order("--truth", self.paired), *(seen.concerns() for seen in self.seen))
