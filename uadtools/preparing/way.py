"""How scans are prepared, in words: a paper's or a model's way, and what is wanted otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from uadtools.errors import Misuse, UadError
from uadtools.models.checkpoint import located, read_config
from uadtools.models.config import GridConfig, IntensityConfig, parse
from uadtools.preparing.preprocess import WAYS_TO_A_BRAIN, Way
from uadtools.preparing.presets import like as like_paper
from uadtools.preparing.presets import template_of
from uadtools.volume.intensity import WINDOWS
from uadtools.volume.io import Image
from uadtools.volume.stream import read_mask


def settle(  # noqa: PLR0913  one parameter per option
    *,
    model: Path | str | None = None,
    like: str | None = None,
    spacing: str | None = None,
    shape: str | None = None,
    brain: Image | Path | str | None = None,
    bias_correct: bool | None = None,
    register: Path | str | None = None,
    intensity: str | None = None,
    match_histogram: bool = False,
    seed: int = 0,
    volume: int | None = None,
) -> Way:
    """Settle how to prepare scans: a paper's way or a model's, and what is wanted otherwise, in uad-preprocess's words.

    Raises UadError for what there is not, and for what does not go together.
    """
    if like and (model or match_histogram):
        raise Misuse(f"--like: {like} has a grid and intensities of its own, and so has a model (choose one)")
    way = like_paper(like) if like else _of_model(model, needed=match_histogram or not (spacing and shape))
    if match_histogram and not way.quantiles:
        raise UadError("--match-histogram: this model does not say which intensities it was trained on (leave it out)")
    if like and register is None and (there := template_of(like)):
        fetched = "which you have to fetch: --register FILE (or none, or mni)"
        raise Misuse(f"--like: {like} registers to {there}, {fetched}")
    return replace(
        way,
        quantiles=way.quantiles if match_histogram else (),
        grid=_grid(way.grid, spacing, shape),
        intensity=_intensity(way.intensity, intensity),
        brain=_brain(way, brain),
        bias_correct=way.bias_correct if bias_correct is None else bias_correct,
        register=_template(register),
        template_name=Path(register).name if register else "none",
        seed=seed,
        volume=volume,
    )


def _of_model(model: Path | str | None, *, needed: bool) -> Way:
    if model is None and not needed:
        return Way()
    config = read_config(located(None if model is None else Path(model)))
    return Way(grid=config.grid, intensity=config.intensity, quantiles=config.quantiles)


def _grid(base: GridConfig, spacing: str | None, shape: str | None) -> GridConfig:
    changes: dict[str, Any] = {}
    if spacing:
        changes["spacing"] = tuple(_numbers(spacing, "--spacing", float))
    if shape:
        changes["shape"] = tuple(_numbers(shape, "--shape", int))
    return base.model_copy(update=changes)


def _numbers(text: str, option: str, kind: type[int] | type[float]) -> list[Any]:
    try:
        found = [kind(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 3) or any(not 0 < n < 10_000 for n in found):
        raise Misuse(f"{option}: {text}: expected one positive number or three, such as 2 or 2,2,2")
    return found * 3 if len(found) == 1 else found


def _intensity(base: IntensityConfig, text: str | None) -> IntensityConfig:
    """Understand percentile, zscore, ct:CENTER,WIDTH, ct:NAME and none."""
    if text is None:
        return base
    kind, _, rest = text.partition(":")
    if kind == "ct" and rest:
        try:
            center, width = WINDOWS.get(rest) or tuple(float(part) for part in rest.split(","))
        except ValueError:
            raise Misuse(
                f"--intensity: {text}: expected ct:CENTER,WIDTH, or ct: and one of {', '.join(WINDOWS)}"
            ) from None
        return parse(IntensityConfig, {"kind": "ct", "center": center, "width": width}, f"--intensity {text}")
    if rest or kind not in ("percentile", "zscore", "none"):
        raise Misuse(f"--intensity: {text}: there are percentile, zscore, ct:CENTER,WIDTH and none")
    return base.model_copy(update={"kind": kind})


def _brain(way: Way, text: Image | Path | str | None) -> Image | str:
    if text is None:
        return way.brain
    if isinstance(text, Image) or text in WAYS_TO_A_BRAIN:
        return text
    try:
        return read_mask(Path(text))
    except UadError as error:
        raise UadError(f"--brain: {error} (there are {', '.join(WAYS_TO_A_BRAIN)}, and FILE)") from None


def _template(text: Path | str | None) -> Image | None:
    if text is None or text == "none":
        return None
    from uadtools.volume.register import template

    try:
        return template(str(text))
    except UadError as error:
        raise UadError(f"--register: {error}") from None
