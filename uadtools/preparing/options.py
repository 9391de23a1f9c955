"""The options of uad-preprocess, settled: the preparation of a paper or a model, and what is wanted otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from uadtools.anatomy.intensity import WINDOWS
from uadtools.errors import Misuse, UadError
from uadtools.models.checkpoint import located, read_config
from uadtools.models.config import GridConfig, IntensityConfig, parse
from uadtools.preparing.preparation import BRAIN_EXTRACTORS, Preparation
from uadtools.preparing.presets import preset, template_of
from uadtools.volume.io import Image
from uadtools.volume.reading import AS_IT_IS, Reading
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
    align: bool = False,
    seed: int = 0,
    reading: Reading = AS_IT_IS,
) -> Preparation:
    """Settle how to prepare scans: as a paper or for a model, and what is wanted otherwise, in uad-preprocess's words.

    Raises UadError for what there is not, and for what does not go together.
    """
    if like and (model or match_histogram):
        raise Misuse(f"--like: {like} has a grid and intensities of its own, and so has a model (choose one)")
    preparation = preset(like) if like else _of_model(model, needed=match_histogram or not (spacing and shape))
    if match_histogram and not preparation.quantiles:
        raise UadError("--match-histogram: this model does not say which intensities it was trained on (leave it out)")
    if like and register is None and (template := template_of(like)):
        fetched = "which you have to fetch: --register FILE (or none, or mni)"
        raise Misuse(f"--like: {like} registers to {template}, {fetched}")
    return replace(
        preparation,
        quantiles=preparation.quantiles if match_histogram else (),
        grid=_grid(preparation.grid, spacing, shape),
        intensity=_intensity(preparation.intensity, intensity),
        brain=_brain(preparation, brain, reading),
        bias_correct=preparation.bias_correct if bias_correct is None else bias_correct,
        register=_template(register),
        template_name=Path(register).name if register else "none",
        align=align,
        seed=seed,
        reading=reading,
    )


def _of_model(model: Path | str | None, *, needed: bool) -> Preparation:
    if model is None and not needed:
        return Preparation()
    config = read_config(located(None if model is None else Path(model)))
    return Preparation(grid=config.grid, intensity=config.intensity, quantiles=config.quantiles)


def _grid(base: GridConfig, spacing: str | None, shape: str | None) -> GridConfig:
    changes: dict[str, Any] = {}
    if spacing:
        changes["spacing"] = tuple(_numbers(spacing, "--spacing", float))
    if shape:
        changes["shape"] = tuple(_numbers(shape, "--shape", int))
    return base.model_copy(update=changes)


def _numbers(text: str, option: str, number: type[int] | type[float]) -> list[Any]:
    try:
        numbers = [number(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or any(not 0 < n < 10_000 for n in numbers):
        raise Misuse(f"{option}: {text}: expected one positive number or three, such as 2 or 2,2,2")
    return numbers * 3 if len(numbers) == 1 else numbers


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


def _brain(preparation: Preparation, brain: Image | Path | str | None, reading: Reading) -> Image | str:
    if brain is None:
        return preparation.brain
    if isinstance(brain, Image) or brain in BRAIN_EXTRACTORS:
        return brain
    try:
        return read_mask(Path(brain), reading.beside)
    except UadError as error:
        raise UadError(f"--brain: {error} (there are {', '.join(BRAIN_EXTRACTORS)}, and FILE)") from None


def _template(text: Path | str | None) -> Image | None:
    if text is None or text == "none":
        return None
    from uadtools.anatomy.register import template

    try:
        return template(str(text))
    except UadError as error:
        raise UadError(f"--register: {error}") from None
