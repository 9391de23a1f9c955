"""A threshold from the score maps of many scans in one call, or what healthy scores are like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from uadtools.cohort.postproc import chosen
from uadtools.cohort.results import Progress, Tell, Watch, silent, unseen
from uadtools.cohort.sources import Sources, listed, some_words, studies
from uadtools.errors import Misuse
from uadtools.files import check_free, write_json
from uadtools.scoring.calibrate import Calibration, Rule, calibrate, has_lesion
from uadtools.scoring.normal import Per, learn, save_normal
from uadtools.volume.io import check_target
from uadtools.volume.stream import Study, read_image


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
    volume: int | None = None,
    force: bool = False,
    tell: Tell = silent,
    progress: Progress = unseen,
    verbose: bool = False,
    **steps: Any,
) -> Calibration:
    """Find a threshold as uad-calibrate does, and write it to output, a JSON file; returns what the file says.

    sources: score maps of healthy scans, or "-" for a stream on standard input; those whose truth shows a lesion tell
    what the threshold leaves. power: score maps of scans with lesions. truth: their lesion masks, in their order;
    without power, those of the sources. rule (scanwise), level, percentile, allow: see `uad-calibrate --help`. steps:
    median, erode, min_size, dilate, largest. tell: gets the name of each scan, if verbose. Raises UadError.
    """
    inputs, sick, truths = some_words(sources, "score"), listed(power, "score"), listed(truth)
    given = chosen(**steps) | _aims(rule, level, percentile, allow)
    _check_counts(inputs, sick, truths)
    if output is not None:
        check_free(Path(output), force=force)
    with progress("calibrating") as watch:
        scans = _watched(_studies(inputs, volume, sick, truths), watch, [*inputs, *sick], tell if verbose else silent)
        report = calibrate(scans, rule or "scanwise", **given)
    if output is not None:
        write_json(Path(output), report, force=force)
    return report


def learn_all(
    sources: Sources, path: Path | str, *, per: Per = "voxel", volume: int | None = None, force: bool = False
) -> dict[str, Any]:
    """Write mean and spread of healthy scores to a file, for score_all's reference; returns how they were learnt.

    sources: score maps of healthy scans, or "-" for a stream on standard input; those whose truth shows a lesion do not
    count. Raises UadError.
    """
    inputs, path = some_words(sources, "score"), Path(path)
    check_target(path, force=force, provenance=False)
    normal = learn((study for study in studies(inputs, volume) if not has_lesion(study)), per=per)
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


def _check_counts(inputs: Sequence[str], power: Sequence[str], truths: Sequence[str]) -> None:
    """Refuse numbers of files that do not fit one another; how many scans a stream holds is seen later."""
    labelled = power or inputs
    if power and not truths:
        raise Misuse("--truth: give the lesion masks, one for each scan of --power")
    if truths and "-" not in labelled and len(labelled) != len(truths):
        raise Misuse(f"--truth: {len(truths)} truths for {len(labelled)} scans")


def _studies(inputs: Sequence[str], volume: int | None, power: Sequence[str], truths: Sequence[str]) -> Iterator[Study]:
    """Read the scans, and give those that are labelled their truth."""
    if power:
        yield from studies(inputs, volume)
    labelled = studies(power or inputs, volume)
    yield from _with_truth(labelled, truths) if truths else labelled


def _with_truth(labelled: Iterator[Study], truths: Sequence[str]) -> Iterator[Study]:
    for study, path in zip_longest(labelled, truths):
        if study is None or path is None:
            raise Misuse(f"--truth: {len(truths)} truths, and there are {'more' if study else 'fewer'} scans")
        label = read_image(Path(path))
        yield study.adding(*study.images.values(), label.derive(label.data, "truth"))


def _watched(scans: Iterator[Study], watch: Watch, files: Sequence[str], tell: Tell) -> Iterator[Study]:
    """Tell the progress bar how many of the files are done; what a stream holds is not known."""
    for done, study in enumerate(scans):
        if "-" not in files:
            watch(done, len(files))
        tell(study.name)
        yield study
