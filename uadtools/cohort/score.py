"""The scores of scans and their healed selves: two files, many files with their scans beside, or streams."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from uadtools.cohort.each import each
from uadtools.cohort.results import Result, carried, done_before
from uadtools.concerns import Tell, silent
from uadtools.datasets.beside import with_given
from uadtools.datasets.bids import sibling
from uadtools.datasets.origin import Origin
from uadtools.datasets.sink import Sink, beside
from uadtools.datasets.sources import Inputs, Sources, named, study_beside, words
from uadtools.errors import Misuse, UadError
from uadtools.grids.placement import Form
from uadtools.scoring.case_scores import case_scores
from uadtools.scoring.normal import normalise, read_normal
from uadtools.scoring.score import Metric, Signed, case_score, maps_of, score
from uadtools.volume.chain import to_native
from uadtools.volume.io import Image, stem
from uadtools.volume.labels import looks_unlike
from uadtools.volume.listing import files_of, is_many
from uadtools.volume.reading import AS_IT_IS, Reading
from uadtools.volume.roles import default_metric, require_role
from uadtools.volume.stream import Study, base_name, fingerprint, last_by, noting, read_image, read_mask

PAIR = "SCAN HEALED"
PRODUCTS = ("healed", "anomaly")
"""What uad-heal makes, by role: a healed scan, or a map of a method that heals nothing."""
ENDS = tuple(f"_{role}" for role in PRODUCTS)


def score_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    scan: Sources = (),
    bids: Path | str | None = None,
    suffix: str | None = None,
    metric: Metric | None = None,
    signed: Signed = "both",
    contrast: str = "mean",
    spread: Path | str | None = None,
    probability: Path | str | None = None,
    region: Path | str | None = None,
    reference: Path | str | None = None,
    brain: Path | str | None = None,
    native: bool = False,
    volume: int | None = None,
    geometry: Form | None = None,
    provenance: bool = True,
    anonymous: bool = False,
    force: bool = False,
    as_json: bool = False,
    tell: Tell = silent,
    fail: Tell = silent,
    verbose: bool = False,
) -> list[Result]:
    """Score as uad-score does, and write the maps; returns, for each study, what `uad-score --json` says of it.

    sources: a scan and its healed self; healed scans, or folders and lists of them, whose scans are `scan` (matched by
    name) or lie beside them as uad-heal leaves them; files of both; or "-" for a stream on standard input. bids:
    instead, the derivatives that uad-heal made there, of scans with this suffix. output: a file, a folder, or "-" for a
    stream on standard output; none: the current folder, the data set, or a stream where the source is one. spread,
    probability, region: maps that uad-heal made, in place of the study's. reference: what `uad-calibrate --reference`
    wrote. as_json: no stream, and the case scores in the results. tell: gets a line for each study, if verbose. Of
    several files, one that fails does not stop the others: fail gets the line, and its result an `error`; what is done
    is skipped. Raises UadError for an only one, and for what is wrong with all.
    """
    maps = {"spread": spread, "probability": probability, "region": region}
    pair, reading = _is_pair(words(sources), scan), Reading(volume, geometry)
    scoring = Scoring.of(
        metric=metric, signed=signed, contrast=contrast, reference=reference, brain=brain, reading=reading.beside,
        tell=tell, **maps,
    )  # fmt: skip
    healed = words(sources)[1:] if pair else sources
    inputs = Inputs.of(healed, output, bids, suffix, step=("healed", "score"), called=PRODUCTS, tell=tell)
    if inputs.several and (one := next((role for role, path in maps.items() if path is not None), "")):
        raise Misuse(f"--{one}: a map belongs to one scan, and there are several (leave it out)")
    writing: dict[str, Any] = {"force": force, "provenance": provenance, "as_json": as_json, "places": inputs.places}
    writing |= {"anonymous": anonymous, "resumed": True, "several": inputs.several}
    sink = Sink.of("score", words(sources)[:1] if pair else inputs.files, inputs.output, **writing)
    scans = words(sources)[:1] if pair else [file for source in words(scan) for file in files_of(source)]
    pairing = Pairing(inputs, scans, [role for role in maps_of(metric) if maps.get(role) is None], reading, pair, tell)

    def work(file: str) -> Iterator[Result]:
        for study in pairing.studies(file):
            path, origin = sink.path(study.name), scoring.origin(study, native=native)
            made = sink.done(path, origin)
            if made and not as_json:
                yield done_before(study.name, path, made)
                continue
            path, scored = path if made else sink.claim(study), scoring(study)
            number = case_score(scored)
            figures: dict[str, Any] = asdict(case_scores(scored)) if as_json else {}
            if native:
                scored = scored.adding(to_native(scored.product, study.name))
            arguments = scored.need("score").provenance["history"][-2 if reference else -1]["arguments"]
            figures |= {"metric": arguments["metric"], "signed": signed, "normal": reference and str(reference)}
            figures |= done_before(study.name, path, made) if made else carried(scored)
            written = str(path) if made else sink.write(origin.noted(scored), path)
            yield {"name": study.name, "output": written, **figures}
            if verbose:
                tell(f"{study.name}: case score {number:.5f}")

    return each(inputs, work, fail)


@dataclass(frozen=True)
class Scoring:
    """Scores one study after the other. images: masks and maps in place of the study's; normal: of healthy scores."""

    metric: Metric | None
    signed: Signed
    contrast: str
    images: Sequence[Image]
    normal: Study | None

    @classmethod
    def of(
        cls,
        *,
        metric: Metric | None = None,
        signed: Signed = "both",
        contrast: str = "mean",
        reference: Path | str | None = None,
        brain: Path | str | None = None,
        reading: Reading = AS_IT_IS,
        tell: Tell = silent,
        **maps: Path | str | None,
    ) -> Scoring:
        """Settle how to score, in uad-score's words; maps: files of them, by role. Raises UadError."""
        for role in ("spread", "probability"):
            if maps.get(role) and role not in maps_of(metric):
                raise Misuse(f"--{role}: has no effect with --metric {metric or 'l1'} (leave it out)")
        images = [] if brain is None else [read_mask(Path(brain), reading, tell=tell)]
        images += [_map(Path(path), role) for role, path in maps.items() if path is not None]
        return cls(metric, signed, contrast, images, None if reference is None else read_normal(Path(reference)))

    def origin(self, study: Study, *, native: bool) -> Origin:
        """Say what a study's score is made of."""
        given = (*self.images, *(self.normal.images.values() if self.normal else ()))
        metric = self.metric or default_metric([*study.images, *(image.role for image in self.images)])
        settings: list[Any] = [metric, self.signed, native, *((image.role, fingerprint(image)) for image in given)]
        settings += [self.contrast] if self.contrast != "mean" else []
        compared = [image for role in (*PRODUCTS, "scan") for image in study.in_channels(role)]
        return Origin.of("uad-score", study.name, settings, *compared)

    def __call__(self, study: Study) -> Study:
        """Add a study's score. Raises UadError, also where there is no brain."""
        given = with_given(study, *self.images)
        scored = score(given, metric=self.metric, signed=self.signed, contrast=self.contrast)
        scored = normalise(scored, self.normal) if self.normal else scored
        if math.isnan(case_score(scored)):
            raise UadError(f"{study.name}: no voxel above background, so there is no brain to score")
        return scored


def _is_pair(inputs: Sequence[str], scan: Sources) -> bool:
    """Tell whether two files are meant that are a scan and its healed self. Raises Misuse for one, and a stream."""
    if len(inputs) > 1 and "-" in inputs:
        raise Misuse(f"{PAIR}: {' '.join(inputs)}: two files, or one stream, or healed scans")
    several = any(map(is_many, inputs)) or all(stem(Path(file)).endswith(ENDS) for file in inputs)
    return len(inputs) == 2 and not words(scan) and not several


@dataclass(frozen=True)
class Pairing:
    """Brings healed scans, the inputs, together with their scans. scans: those that are named; pair: the only one is
    that of the only healed scan. wanted: the roles of maps that were written beside a healed scan.
    """

    inputs: Inputs
    scans: Sequence[str]
    wanted: Sequence[str]
    reading: Reading
    pair: bool
    tell: Tell

    def studies(self, file: str) -> Iterator[Study]:
        """Read the studies of a file of healed scans. Raises UadError where a scan is missing, or something else."""
        if self.pair:
            yield self._whole(Path(self.scans[0]), Path(file))
            return
        for study in self.inputs.studies(file, self.reading, self.tell):
            alone = file != "-" and "scan" not in study.images and (study.product.role in PRODUCTS or self.scans)
            yield self._whole(self._scan_of(Path(file)), Path(file), study) if alone else study

    def _scan_of(self, file: Path) -> Path:
        """Find the scan of a healed one: by its name among those that are named, else beside it."""
        if not self.scans:
            places = [beside(file, "scan"), file.with_name(f"{base_name(file)}.nii.gz")]
            if found := [place for place in places if place != file and place.exists()]:
                return found[0]
            raise UadError(f"{file}: {places[0].name} is not beside it (name SCAN HEALED, or its scan with --scan)")
        wanted = sibling(file.name, "scan") or base_name(file)
        named_so = [Path(scan) for scan in self.scans if wanted in (Path(scan).name, base_name(Path(scan)))]
        found = [path for path in named_so if stem(path).endswith("_preprocessed")] or named_so
        if len(found) != 1:
            many = "several have" if found else "none has"
            raise UadError(f"{file}: of the scans of --scan {many} its name, {base_name(file)} (rename one)")
        return found[0]

    def _whole(self, scan_file: Path, healed_file: Path, made: Study | None = None) -> Study:
        """Make a study of a scan, its healed self, and the maps wanted of those that were written beside that.

        made: what is in the file of the healed one, if that was read.
        """
        read, made_of = study_beside(scan_file, self.reading, self.tell), made is None
        made = made or study_beside(healed_file, self.reading, self.tell)
        scan, healed = read.product, made.product
        if scan.role == "healed":
            raise Misuse(f"{PAIR}: {scan_file} is a healed scan (name the scan first)")
        if healed.role not in PRODUCTS and healed.provenance.get("history"):
            raise Misuse(f"{PAIR}: {healed_file} is a {healed.role} and no healed scan (uad-heal makes one)")
        role = healed.role if healed.role in PRODUCTS else "healed"
        doubts = [
            concern.about(str(path))
            for image, wanted, path in ((scan, "scan", scan_file), (healed, role, healed_file))
            for concern in looks_unlike(image, wanted, str(path))
        ]
        for doubt in doubts:
            self.tell(str(doubt))
        healed = replace(healed, provenance=healed.provenance | noting(healed, doubts))
        first = {role: healed.derive(healed.data, role), "scan": scan.derive(scan.data, "scan")}
        others = [*made.in_channels(healed.role)[1:], *read.in_channels(scan.role)[1:]]
        images = first | {image.role: image for image in others}
        for role in (role for role in last_by(healed, "uad-heal").get("maps", []) if role in self.wanted):
            file = beside(healed_file, role)
            if not file.exists():
                raise UadError(
                    f"{file}: not there, and part of the score (uad-heal --maps writes it beside HEALED; --metric l1)"
                )
            images[role] = read_image(file)
        return named(Study("", images), base_name(scan_file) if made_of else made.name)


def _map(path: Path, role: str) -> Image:
    image = read_image(path)
    require_role(image, role, str(path))
    return image.derive(image.data, role)
