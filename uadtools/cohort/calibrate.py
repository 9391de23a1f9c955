"""A threshold from the score maps of many scans in one call, or what healthy scores are like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from uadtools.cohort.postproc import chosen
from uadtools.cohort.results import Progress, Watch, unseen
from uadtools.concerns import Concern, Tell, read_concerns, silent, tell_concerns, told, united
from uadtools.datasets.pairs import Names, by_order
from uadtools.datasets.sources import Sources, image_beside, listed, some_words, studies
from uadtools.errors import Misuse
from uadtools.files import check_free, write_json
from uadtools.grids.placement import Form
from uadtools.scoring.calibrate import Calibration, Rule, calibrate, has_lesion
from uadtools.scoring.normal import Per, learn, save_normal
from uadtools.volume.io import check_target
from uadtools.volume.labels import Choice, read_labels
from uadtools.volume.reading import Reading
from uadtools.volume.stream import Study


def calibrate_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    rule: Rule | None = None,
    level: float | None = None,
    percentile: float | None = None,
    allow: float | None = None,
    power: Sources = (),
    truth: Sources = (),
    match: bool = False,
    label: Sequence[int] = (),
    ignore: Sequence[int] = (),
    volume: int | None = None,
    geometry: Form | None = None,
    force: bool = False,
    tell: Tell = silent,
    progress: Progress = unseen,
    verbose: bool = False,
    **steps: Any,
) -> Calibration:
    """Find a threshold as uad-calibrate does, and write it to output, a JSON file; returns what the file says.

    sources: score maps of healthy scans, or "-" for a stream on standard input; those whose truth shows a lesion tell
    what the threshold leaves. power: score maps of scans with lesions. truth: their lesion masks, in their order or,
    with match, by their names; without power, those of the sources. label, ignore: which of their labels count, and
    which neither way. rule (scanwise), level, percentile, allow: see `uad-calibrate --help`. steps: median,
    smooth, erode, min_size, dilate, largest. tell: gets the concerns, and names of scans, if verbose. Raises UadError.
    """
    inputs, sick, truths = some_words(sources, "score"), listed(power, "score"), listed(truth)
    given = chosen(**steps) | _aims(rule, level, percentile, allow)
    given_truths = Truths(truths, Choice(tuple(label), tuple(ignore)), match)
    _check_counts(inputs, sick, truths, match)
    if output is not None:
        check_free(Path(output), force=force)
    labelled = _studies(inputs, sick, given_truths, Reading(volume, geometry), tell)
    with progress("calibrating") as watch:
        scans = _watched(labelled, watch, [*inputs, *sick], tell if verbose else silent)
        report = calibrate(scans, rule or "scanwise", **given)
    noted = read_concerns(report["concerns"])
    concerns = united(given_truths.concerns(), (concern for concern in noted if concern.code == "looks-unlike"))
    report["concerns"] = told(concerns, noted)
    tell_concerns(concerns, tell)
    if output is not None:
        write_json(Path(output), report, force=force)
    return report


def learn_all(
    sources: Sources, path: Path | str, *, per: Per = "voxel", force: bool = False, tell: Tell = silent, **reading: Any
) -> dict[str, Any]:
    """Write mean and spread of healthy scores to a file, for score_all's reference; returns how they were learnt.

    sources: score maps of healthy scans, or "-" for a stream on standard input; those whose truth shows a lesion do not
    count. reading: volume and geometry, as for others. Raises UadError.
    """
    inputs, path = some_words(sources, "score"), Path(path)
    check_target(path, force=force, provenance=False)
    scans = studies(inputs, Reading(**reading), tell)
    normal = learn((study for study in scans if not has_lesion(study)), per=per)
    save_normal(normal, path, force=force)
    return {"residuals": str(path), **normal.product.provenance["normal"]}


def _aims(rule: str | None, level: float | None, percentile: float | None, allow: float | None) -> dict[str, Any]:
    """Return what is to be reached. Raises Misuse for what has no effect with this rule."""
    if level is not None and rule in ("percentile", "best-dice"):
        raise Misuse(f"--level: has no effect with --rule {rule} (leave it out)")
    if percentile is not None and rule != "percentile":
        raise Misuse("--percentile: has an effect only with --rule percentile")
    if allow is not None and rule not in (None, "scanwise"):
        raise Misuse("--allow: has an effect only with --rule scanwise (leave it out)")
    aims = {"level": level, "percentile": percentile, "allowed_ml": allow}
    return {name: value for name, value in aims.items() if value is not None}


def _check_counts(inputs: Sequence[str], power: Sequence[str], truths: Sequence[str], match: bool) -> None:
    """Refuse numbers of files that do not fit one another; how many scans a stream holds is seen later."""
    if match and not truths:
        raise Misuse("--match: pairs files, and there is no --truth")
    labelled = power or inputs
    if power and not truths:
        raise Misuse("--truth: give the lesion masks, one for each scan of --power")
    if truths and "-" not in labelled and len(labelled) != len(truths):
        raise Misuse(f"--truth: {len(truths)} truths for {len(labelled)} scans")


@dataclass(frozen=True)
class Truths:
    """The truths of scans, in their order or by their names, and which of their labels count.

    paired: scans and truths so far.
    """

    files: Sequence[str]
    choice: Choice
    match: bool = False
    paired: list[tuple[str, str]] = field(default_factory=list)
    guesses: list[Concern] = field(default_factory=list)

    def given(self, labelled: Iterator[Study], reading: Reading, tell: Tell) -> Iterator[Study]:
        """Give scans their truth."""
        names, files = Names("--truth", self.files), iter(self.files)
        for study in labelled:
            path = names.take(study.name) if self.match else next(files, None)
            if path is None:
                raise Misuse(f"--truth: {len(self.files)} truths, and there are more scans")
            label, guesses = read_labels(image_beside(path, reading, tell), "truth", path, self.choice)
            self.paired.append((study.name, path))
            self.guesses.extend(guesses)
            yield study.adding(*study.images.values(), label.derive(label.data, "truth"))
        if not self.match and [*files]:
            raise Misuse(f"--truth: {len(self.files)} truths, and there are fewer scans")
        if self.match and (left := names.left()):
            raise Misuse(f"--truth: {left[0]} belongs to no scan by its name (leave it out)")

    def concerns(self) -> Iterator[Concern]:
        """Tell of pairs that may be none, and of what had to be guessed."""
        return chain(by_order("--truth", self.paired), self.guesses)


def _studies(
    inputs: Sequence[str], power: Sequence[str], truths: Truths, reading: Reading, tell: Tell
) -> Iterator[Study]:
    """Read the scans, and give those that are labelled their truth."""
    if power:
        yield from studies(inputs, reading, tell)
    labelled = studies(power or inputs, reading, tell)
    yield from truths.given(labelled, reading.beside, tell) if truths.files else labelled


def _watched(scans: Iterator[Study], watch: Watch, files: Sequence[str], tell: Tell) -> Iterator[Study]:
    """Tell the progress bar how many of the files are done; what a stream holds is not known."""
    for done, study in enumerate(scans):
        if "-" not in files:
            watch(done, len(files))
        tell(study.name)
        yield study
