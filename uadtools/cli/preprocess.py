"""uad-preprocess."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from uadtools.cli import _common as c
from uadtools.errors import UadError

EXAMPLES = """
  uad-preprocess scan.nii.gz                          writes scan_preprocessed.nii.gz
  uad-preprocess scan.nii.gz --brain mask.nii.gz -o - | uad-heal -o healed.nii.gz
  uad-preprocess raw/*.nii.gz -o prepared/ --shape 96,96,96 --spacing 2
"""


def preprocess(
    inputs: c.Inputs = None,
    output: c.Output = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="M",
            help="Take grid and intensity window from this model; default: the bundled one.",
            show_default=False,
        ),
    ] = None,
    spacing: Annotated[
        str | None,
        typer.Option("--spacing", metavar="MM[,MM,MM]", help="Voxel size instead of the model's.", show_default=False),
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", metavar="X,Y,Z", help="Voxels instead of the model's.", show_default=False)
    ] = None,
    brain: Annotated[
        str,
        typer.Option(
            "--brain",
            metavar="auto|none|deepbet|FILE",
            help="auto: as it is if the skull is gone already, else deepbet (T1 scans of adults). none: all that is "
            "not 0. FILE: a mask on the scan's grid.",
        ),
    ] = "auto",
    intensity: Annotated[
        Literal["percentile", "none"] | None,
        typer.Option(
            "--intensity",
            metavar="percentile|none",
            help="How intensities become 0 to 1, instead of the model's way.",
            show_default=False,
        ),
    ] = None,
    save_brain: Annotated[
        Path | None,
        typer.Option("--save-brain", metavar="FILE", help="Write the brain mask of one scan, too.", show_default=False),
    ] = None,
    volume: c.Volume = None,
    provenance: c.Provenance = True,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Bring raw scans onto a model's grid: RAS, resampled, cropped, brain only, intensities 0 to 1."""
    from uadtools.cli._studies import Sink, print_json, studies
    from uadtools.models.checkpoint import default_path, read_config
    from uadtools.pipeline.preprocess import preprocess as work
    from uadtools.volume.io import check_target, save
    from uadtools.volume.stream import read_image

    settings = read_config(model or default_path()) if model or not (spacing and shape) else None
    grid, window = _grid(settings, spacing, shape), _window(settings, intensity)
    tell = c.teller("uad-preprocess", quiet)
    sink = Sink.of("preprocessed", inputs, output, force=force, provenance=provenance, as_json=as_json)
    if save_brain is not None:
        check_target(save_brain, force=force, provenance=provenance)
    mask = brain if brain in ("auto", "none", "deepbet") else read_image(Path(brain))
    results: list[dict[str, Any]] = []
    for raw in studies(inputs, volume):
        if save_brain is not None and (results or len(inputs or ()) > 1):
            raise c.usage("one file, and there are several scans", "--save-brain")
        path = sink.claim(raw)
        try:
            made = work(raw.product, name=raw.name, grid=grid, intensity=window, brain=mask, tell=tell)
        except UadError as error:
            raise UadError(f"{raw.name}: {error}") from None
        written = sink.write(made, path)
        if save_brain is not None:
            save(made.need("brain"), save_brain, force=force, provenance=provenance)
        inside = int(made.need("brain").data.sum())
        results.append({"name": raw.name, "output": written, "brain_ml": inside * made.product.grid.voxel_volume})
        if verbose:
            tell(f"{raw.name}: {raw.product.grid} -> {made.product.grid}; brain {results[-1]['brain_ml']:.0f} mL")
    if as_json:
        print_json(results)


def _numbers(text: str, option: str, kind: type[int] | type[float]) -> list[Any]:
    try:
        found = [kind(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 3) or any(not 0 < n < 10_000 for n in found):
        raise c.usage(f"{text}: expected one positive number or three, such as 2 or 2,2,2", option)
    return found * 3 if len(found) == 1 else found


def _grid(settings: Any, spacing: str | None, shape: str | None) -> Any:
    from uadtools.models.config import GridConfig

    base = settings.grid if settings else GridConfig()
    changes: dict[str, Any] = {}
    if spacing:
        changes["spacing"] = tuple(_numbers(spacing, "--spacing", float))
    if shape:
        changes["shape"] = tuple(_numbers(shape, "--shape", int))
    return base.model_copy(update=changes)


def _window(settings: Any, intensity: str | None) -> Any:
    from uadtools.models.config import IntensityConfig

    base = settings.intensity if settings else IntensityConfig()
    return base.model_copy(update={"kind": intensity}) if intensity else base


COMMAND = c.Command(preprocess, "uad-preprocess", EXAMPLES)
main = COMMAND.run
