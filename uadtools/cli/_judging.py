"""What uad-eval is given, and each of the three things it can do with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from uadtools.cli import _common as c
from uadtools.cohort.sources import studies
from uadtools.evaluation.compare import compare, read_report
from uadtools.evaluation.evaluate import Case, Wanted, case, judge, kind_of, with_scan
from uadtools.evaluation.image_level import image_level, read_case_scores
from uadtools.evaluation.subgroups import read_participants, subgroups
from uadtools.report.picture import check_picture, picture
from uadtools.report.plots import DRAWN, check_plots, plot
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, read_image, read_mask

Report = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """Predictions, and what lies beside each of them; all may be none, and then the stream has it."""

    inputs: Sequence[str]
    volume: int | None
    truths: Sequence[Path]
    brains: Sequence[Path]
    scans: Sequence[Path]

    def check(self, *, picture: bool) -> None:
        """Refuse numbers of files that do not fit one another; how many predictions a stream holds is seen later."""
        beside = {
            "truths": ("--truth", self.truths),
            "brain masks": ("--brain", self.brains),
            "scans": ("--scan", self.scans),
        }
        count, what = (len(self.inputs), "predictions") if self.inputs and "-" not in self.inputs else (0, "")
        for name, (option, files) in beside.items():
            if files and count and len(files) != count:
                raise c.usage(f"{len(files)} {name} for {count} {what}", option)
            if files and not count:
                count, what = len(files), name
        if picture and count > 1:
            raise c.usage("draws one study at a time", "--picture")

    def cases(self) -> Iterator[tuple[Study, Image | None, Case]]:
        """Bring each prediction together with what lies beside it; the image is its truth."""
        beside = list(zip_longest(self.truths, self.brains, self.scans))
        for study, files in zip_longest(studies(self.inputs, self.volume), beside):
            if study is None or (beside and files is None):
                option = "--truth" if self.truths else "--brain" if self.brains else "--scan"
                stream = f"the stream holds {'more' if study else 'fewer'} scans"
                raise c.usage(f"{len(beside)} {option[2:]}s, and {stream}", option)
            truth, brain, scan = files or (None, None, None)
            whole = study if scan is None else with_scan(study, read_image(scan))
            label = read_image(truth) if truth else whole.images.get("truth")
            if label is None and kind_of(whole) != "reconstruction":
                raise c.usage("give the experts' masks, one for each prediction", "--truth")
            yield whole, label, case(whole, label, read_mask(brain) if brain else None)


@dataclass(frozen=True)
class Drawings:
    """The plots of all scans, by kind, and the picture of one."""

    plots: Mapping[str, Path]
    picture: Path | None
    force: bool

    @classmethod
    def of(cls, plots: Sequence[str], picture: Path | None, *, force: bool) -> Drawings:
        """Read KIND=FILE, and refuse what cannot be drawn before any work is done."""
        if wrong := [text for text in plots if "=" not in text]:
            raise c.usage(f"{wrong[0]}: which one? (KIND=FILE; there are {', '.join(DRAWN)})", "--plot")
        pairs = {kind: Path(path) for kind, _, path in (text.partition("=") for text in plots)}
        check_plots(pairs, force=force)
        if picture is not None:
            check_picture(picture, force=force)
        return cls(pairs, picture, force)


def of_scans(given: Given, wanted: Wanted, drawings: Drawings, *, seed: int, tell: Callable[[str], None]) -> Report:
    """Judge the predictions, and draw what is to be drawn."""
    last: list[tuple[Study, Image | None]] = []

    def watched() -> Iterator[Case]:
        for study, label, found in given.cases():
            if last and drawings.picture:
                raise c.usage("draws one study at a time", "--picture")
            last[:] = [(study, label)]
            tell(f"{study.name}: {int(found.within.sum()):,} voxels")
            yield found

    found = judge(watched(), wanted, seed=seed)
    for kind, path in drawings.plots.items():
        plot(found, kind, path, force=drawings.force)
    if drawings.picture is not None:
        picture(last[0][0], drawings.picture, truth=last[0][1], force=drawings.force)
    return dict(found.report)


def of_groups(report: Report, participants: Path | None, by: Sequence[str], *, seed: int) -> Report:
    """Return the figures of the subgroups of a report's scans."""
    people = None if participants is None else read_participants(participants)
    return dict(subgroups(report["scans"], people, by, seed=seed))


def of_people(healthy: Sequence[Path], sick: Sequence[Path], *, seed: int) -> Report:
    """Judge case scores."""
    rows = [[row for path in files for row in read_case_scores(path)] for files in (healthy, sick)]
    return image_level(*rows, seed=seed)


def of_reports(reports: Mapping[str, Report], figure: str | None, *, seed: int) -> Report:
    """Compare reports with the first of them."""
    return compare(reports, [name.strip() for name in figure.split(",")] if figure else (), seed=seed)


def reports_of(paths: Sequence[Path]) -> dict[str, Report]:
    """Read the reports to compare."""
    return {str(path): read_report(path) for path in paths}
