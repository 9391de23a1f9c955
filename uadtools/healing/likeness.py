"""What a model's healthy inputs look like: learnt from scans, put into a model file, and asked of every new scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uadtools.anatomy.contrast import recognise
from uadtools.anatomy.likeness import FEATURES, GROUPS, features, spread_of, vector
from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.files import check_free, read_json, written
from uadtools.models.checkpoint import amend, read_config
from uadtools.models.config import ModelConfig, parse
from uadtools.models.likeness import GroupConfig, LikenessConfig, Unlike, distances, together, unlike
from uadtools.simulation.mild import CHANGES, changed
from uadtools.volume.io import Image
from uadtools.volume.listing import files_of
from uadtools.volume.stream import Study, concerns_of, noting, read_image

Features = dict[str, float]
LIMIT = 1.1
"""Of `unlike`, unless healthy scans themselves lie beyond; see docs/likeness.md for what lies on either side."""
MARGIN = 1.1
"""Least limit over what 99 in 100 held-out healthy scans stay under."""
LEAST_SCANS = 8
FOLDS = 5
VERSIONS = 3
"""Of each scan: as it is, and with two mild changes."""


def judged(scan: Image, brain: Any, config: ModelConfig) -> Unlike | None:
    """Ask how unlike a model's healthy inputs a prepared scan is; None where the model does not know what they are.

    A scan with too little in it to be described is of none of the model's, either.
    """
    if config.likeness is None:
        return None
    try:
        return unlike(features(scan.data, brain, scan.grid.spacing), config.likeness)
    except UadError as error:
        return Unlike(2 * config.likeness.limit, config.likeness.limit, str(error), 1 / (config.likeness.scans + 1))


def noted(study: Study, brain: Any, config: ModelConfig) -> dict[str, Any]:
    """Return what a scan's provenance is to say of it: `unlike`, and more of `concerns`.

    That is where it is beyond, and where it has contrasts that the model does not look at.
    """
    scan, likeness = study.need("scan"), judged(study.need("scan"), brain, config)
    left = [channel for channel in study.channels if channel and channel not in config.contrasts[1:]]
    text = f"{', '.join(left)} beside the scan: not looked at by model {config.name}"
    concerns = [Concern("unseen", text, ", ".join(left))] if left else []
    if likeness is None:
        return noting(scan, concerns)
    text = f"unlike the healthy scans of model {config.name}: {likeness.reason}"
    concerns += [Concern("unlike", text, round(likeness.number, 3))] if likeness.beyond else []
    return {"unlike": likeness.to_json(), **noting(scan, concerns)}


def unlike_of(image: Image) -> dict[str, Any] | None:
    """Return what uad-heal found of the scan's likeness; None where it did not ask."""
    likeness = image.provenance.get("unlike")
    return likeness if isinstance(likeness, dict) else None


def worst_of(healed: Sequence[Image]) -> dict[str, Any]:
    """Return what is to be said of a scan that several models healed: all concerns, and the most unlike of all."""
    likenesses = [likeness for image in healed if (likeness := unlike_of(image))]
    worst = max(likenesses, key=lambda one: (one["beyond"], one["unlike"] / one["limit"]), default=None)
    return noting(healed[0], concerns_of(*healed)) | ({"unlike": worst} if worst else {})


def too_unlike(image: Image) -> str:
    """Return why nothing should be detected in a scan; an empty string where nothing speaks against it."""
    likeness = unlike_of(image) or {}
    return str(likeness.get("reason", "unlike healthy scans")) if likeness.get("beyond") is True else ""


def versions(scan: Image, rng: np.random.Generator, count: int = VERSIONS) -> Iterator[Features]:
    """Describe a scan as it is, and with mild changes that differ from one another."""
    spacing = scan.grid.spacing
    yield features(scan.data, scan.data > 0, spacing)
    for change in rng.choice(CHANGES, count - 1, replace=False):
        data = changed(scan.data, str(change), rng, spacing)
        yield features(data, data > 0, spacing)


def fit_likeness(
    described: Mapping[str, Sequence[Sequence[Features]]], *, limit: float = LIMIT, source: str = ""
) -> LikenessConfig:
    """Make the table of what healthy scans look like.

    described: by contrast, for each person the features of the versions of a scan. limit: at least. The
    quantiles and the limit are from people that the means and covariances were not made from (FOLDS of them in turn).
    Raises UadError for fewer than LEAST_SCANS people of a contrast.
    """
    for contrast, people in described.items():
        if len(people) < LEAST_SCANS:
            raise UadError(
                f"{len(people)} scans of {contrast}: at least {LEAST_SCANS} are needed to know what is usual"
            )
    numbers = [together(distances(*held_out)) for people in described.values() for held_out in _crossed(people)]
    quantiles = tuple(round(float(q), 4) for q in np.quantile(numbers, np.linspace(0, 1, 101)))
    tables = {contrast: _table(people) for contrast, people in described.items()}
    limit = max(limit, round(MARGIN * float(np.quantile(numbers, 0.99)), 3))
    return LikenessConfig(contrasts=tables, limit=limit, quantiles=quantiles, scans=len(numbers), source=source)


def read_likeness(path: Path) -> LikenessConfig:
    """Read a table that `describe` or a script wrote as JSON. Raises UadError."""
    return parse(LikenessConfig, read_json(path, "no JSON (a table of `uad-models describe` was expected)"), str(path))


def check_keeping(out: Path, *, force: bool = False) -> None:
    """Raise UadError when neither a model file nor a table can be written there."""
    if out.suffix not in (".json", ".safetensors"):
        raise UadError(f"{out}: a model file ends in .safetensors, a table in .json (change -o)")
    check_free(out, force=force)


def keep(model: Path, table: LikenessConfig, out: Path, *, force: bool = False) -> Path:
    """Write a model file with a table in place of the one it has, or the table alone where `out` ends in .json."""
    check_keeping(out, force=force)
    if out.suffix != ".json":
        return amend(model, out, read_config(model).model_copy(update={"likeness": table}), force=force)
    with written(out, force=force) as part:
        part.write_text(table.model_dump_json() + "\n")
    return out


def describe(
    sources: Sequence[str],
    config: ModelConfig,
    contrast: str | None = None,
    *,
    seed: int = 0,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> LikenessConfig:
    """Make a model's table from healthy scans that were prepared for it: files, folders and lists of them.

    contrast: of all of them; None: each as it is recognised, where there are LEAST_SCANS of it, the rest as most are.
    Raises UadError for a scan of another grid, and for too few.
    """
    if config.grid.flat:
        raise UadError(f"model {config.name} takes single slices, and only volumes are described")
    files = [file for source in sources for file in files_of(source)]
    people: dict[str, list[list[Features]]] = {}
    for number, file in enumerate(files):
        scan = read_image(Path(file))
        if config.grid.misfit(scan.grid):
            raise UadError(f"{file}: not prepared for model {config.name}, which wants {config.grid} (uad-preprocess)")
        try:
            person = list(versions(scan, np.random.default_rng([seed, number])))
        except UadError as error:
            raise UadError(f"{file}: {error}") from None
        people.setdefault(contrast or recognise(person[0]).name, []).append(person)
        watch(number + 1, len(files))
    return fit_likeness(_joined(people), source=", ".join(Path(source).name for source in sources))


def _joined(people: Mapping[str, list[list[Features]]]) -> dict[str, list[list[Features]]]:
    """Put those of a contrast that there are too few of to those of the one that there are most of."""
    most = max(people, key=lambda name: len(people[name]))
    joined: dict[str, list[list[Features]]] = {most: []}
    for name, scans in people.items():
        joined.setdefault(name if len(scans) >= LEAST_SCANS else most, []).extend(scans)
    return joined


def _crossed(people: Sequence[Sequence[Features]]) -> Iterator[tuple[Features, dict[str, GroupConfig]]]:
    """Yield everybody's features with the table of those in the other folds."""
    folds = min(FOLDS, len(people))
    for fold in range(folds):
        table = _table([person for number, person in enumerate(people) if number % folds != fold])
        for person in people[fold::folds]:
            yield from ((described, table) for described in person)


def _table(people: Sequence[Sequence[Features]]) -> dict[str, GroupConfig]:
    rows = np.array([vector(described) for person in people for described in person])
    table = {}
    for name, names in GROUPS.items():
        mean, inverse = spread_of(rows[:, [FEATURES.index(feature) for feature in names]], names)
        table[name] = GroupConfig(mean=_short(mean), inverse=tuple(map(_short, inverse)))
    return table


def _short(values: Any) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)
