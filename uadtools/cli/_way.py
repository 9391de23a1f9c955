"""From the options of uad-preprocess to how scans are prepared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from uadtools.cli._common import usage
from uadtools.errors import UadError
from uadtools.models.checkpoint import located, read_config
from uadtools.models.config import GridConfig, IntensityConfig, parse
from uadtools.preparing.preprocess import WAYS_TO_A_BRAIN, Way
from uadtools.preparing.presets import like as like_paper
from uadtools.preparing.presets import template_of
from uadtools.volume.intensity import WINDOWS
from uadtools.volume.stream import read_mask


def settle(
    model: Path | None,
    like: str | None,
    *,
    spacing: str | None,
    shape: str | None,
    brain: str | None,
    bias_correct: bool | None,
    register: str | None,
    intensity: str | None,
    match_histogram: bool,
    seed: int,
    volume: int | None,
) -> Way:
    """Settle the way: a paper's or a model's, and what the user wants otherwise. Raises UadError and usage errors."""
    if like and (model or match_histogram):
        raise usage(f"{like} has a grid and intensities of its own, and so has a model (choose one)", "--like")
    way = like_paper(like) if like else _of_model(model, needed=match_histogram or not (spacing and shape))
    if match_histogram and not way.quantiles:
        raise UadError("--match-histogram: this model does not say which intensities it was trained on (leave it out)")
    if like and register is None and (there := template_of(like)):
        raise usage(
            f"{like} registers to {there}, which you have to fetch: --register FILE (or none, or mni)", "--like"
        )
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


def _of_model(model: Path | None, *, needed: bool) -> Way:
    if model is None and not needed:
        return Way()
    config = read_config(located(model))
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
        raise usage(f"{text}: expected one positive number or three, such as 2 or 2,2,2", option)
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
            raise usage(
                f"{text}: expected ct:CENTER,WIDTH, or ct: and one of {', '.join(WINDOWS)}", "--intensity"
            ) from None
        return parse(IntensityConfig, {"kind": "ct", "center": center, "width": width}, f"--intensity {text}")
    if rest or kind not in ("percentile", "zscore", "none"):
        raise usage(f"{text}: there are percentile, zscore, ct:CENTER,WIDTH and none", "--intensity")
    return base.model_copy(update={"kind": kind})


def _brain(way: Way, text: str | None) -> Any:
    if text is None or text in WAYS_TO_A_BRAIN:
        return text or way.brain
    try:
        return read_mask(Path(text))
    except UadError as error:
        raise UadError(f"--brain: {error} (there are {', '.join(WAYS_TO_A_BRAIN)}, and FILE)") from None


def _template(text: str | None) -> Any:
    if text is None or text == "none":
        return None
    from uadtools.volume.register import template

    try:
        return template(text)
    except UadError as error:
        raise UadError(f"--register: {error}") from None
