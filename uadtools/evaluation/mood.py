"""The scores of the Medical Out-of-Distribution challenge (MOOD): average precision of voxels, and of cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadtools.concerns import Tell
from uadtools.datasets.sources import Sources, some_words
from uadtools.errors import UadError
from uadtools.evaluation.measures import defined
from uadtools.evaluation.reports import SCHEMA, Row
from uadtools.files import read_lines
from uadtools.metrics.ranking import Voxels, average_precision, merged, ordered, ranking
from uadtools.volume.listing import files_of
from uadtools.volume.stream import base_name, read_image, read_mask

CALLED = ("score", "anomaly")
"""How predictions in a folder may be called after their cases."""


def mood(sources: Sources, labels: Path, tell: Tell) -> Row:
    """Score predictions as MOOD does: pixel_ap over the voxels of all cases, and sample_ap over cases.

    sources: score maps on the grids of the cases, files or folders, named after them. labels: a folder with
    pixel/NAME.nii.gz, masks, and sample/NAME.nii.gz.txt, 1 for a case with an anomaly. A case's score is the number in
    NAME.nii.gz.txt beside its map, where all have one, else the mean of what is above 0 in the map. All scores are cut
    to 0 to 1, and a case that nobody predicted has 0 everywhere, which tell gets a line of. Of a map all voxels count,
    those outside of the brain, too. Returns both figures and a row for each case; null without any anomaly, or where
    sample/ is missing. Raises UadError for what cannot be read, is on another grid, or is no case.
    """
    if not (labels / "pixel").is_dir():
        raise UadError(f"{labels}: no folder pixel/ in it (name MOOD's folder of labels, such as brain/toy_label/)")
    masks = {base_name(Path(file)): Path(file) for file in files_of(str(labels / "pixel"))}
    maps = {base_name(Path(file)): Path(file) for file in _maps(sources)}
    if gone := [path for path in maps.values() if not path.exists()]:
        raise UadError(f"{gone[0]}: no such file or folder")
    if others := sorted(maps.keys() - masks.keys()):
        raise UadError(f"{maps[others[0]]}: no case of {labels / 'pixel'} is called {others[0]} (leave it out)")
    if left := sorted(masks.keys() - maps.keys()):
        tell(f"{labels}: {len(left)} of {len(masks)} cases have no prediction, and count as 0, such as {left[0]}")
    texts = {name: path.with_name(f"{name}.nii.gz.txt") for name, path in maps.items()}
    told = all(text.is_file() for text in texts.values())
    voxels, rows = list[Voxels](), list[Row]()
    for name, path in sorted(masks.items()):
        mask = read_mask(path, role="truth")
        score = np.zeros(mask.grid.shape, np.float32)
        if name in maps:
            image = read_image(maps[name])
            if not image.grid.same(mask.grid):
                unlike = image.grid.unlike(mask.grid)
                raise UadError(f"{maps[name]}: not on the grid of its case: {unlike} (uad-score --native)")
            score = _cut(image.data, maps[name], tell)
        found = _number(texts[name]) if told and name in texts else _mean(score)
        voxels.append(ordered(score, mask.data > 0))
        rows.append({"name": name, "sick": _sick(labels, name), "case_score": float(np.clip(found, 0, 1))})
    return {
        "schema": SCHEMA,
        "kind": "mood",
        "pixel_ap": defined(ranking(merged(voxels)).average_precision()),
        "sample_ap": _of_cases(rows),
        "case_scores": "told" if told else "mean",
        "scans": rows,
    }


def _maps(sources: Sources) -> list[str]:
    """List the predictions; of a folder those of the names in CALLED, or all, if nothing is called so."""
    try:
        return some_words(sources, CALLED)
    except UadError:
        return some_words(sources)


def _cut(data: NDArray[np.generic], path: Path, tell: Tell) -> NDArray[np.float32]:
    score = np.asarray(data, np.float32)
    if score.max(initial=0) > 1 or score.min(initial=0) < 0:
        tell(f"{path}: scores of {score.min():g} to {score.max():g} are cut to 0 to 1, as MOOD does")
    return np.clip(score, 0, 1)


def _mean(score: NDArray[np.float32]) -> float:
    inside = score[score > 0]
    return float(inside.mean(dtype=np.float64)) if inside.size else 0.0


def _number(path: Path) -> float:
    text = next(iter(read_lines(path)), "")
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise UadError(f"{path}: '{text[:20]}' is no score of a case (a number from 0 to 1)")
    return number


def _sick(labels: Path, name: str) -> bool | None:
    path = labels / "sample" / f"{name}.nii.gz.txt"
    return _number(path) > 0 if path.parent.is_dir() else None


def _of_cases(rows: Sequence[Row]) -> float | None:
    if any(row["sick"] is None for row in rows):
        return None
    scores = np.array([row["case_score"] for row in rows])
    return defined(average_precision(scores, np.array([row["sick"] for row in rows], dtype=bool)))
