"""Many scans drawn into in one call, also several times each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uadtools.cohort.results import Result, carried
from uadtools.concerns import Tell, silent
from uadtools.datasets.sink import Sink
from uadtools.datasets.sources import Sources, named, some_scans, studies, words
from uadtools.errors import Misuse, UadError
from uadtools.grids.placement import Form
from uadtools.report.picture import check_picture, truth_picture
from uadtools.simulation.plan import MASKED, Simulation, SimulationKind, require_masks
from uadtools.simulation.simulate import measured, read_masks, simulate
from uadtools.volume.io import SUFFIXES
from uadtools.volume.reading import Reading


def simulate_all(  # noqa: PLR0913  one parameter per option
    sources: Sources,
    output: Path | str | None = None,
    *,
    kind: SimulationKind,
    masks: Sources = (),
    copies: int = 1,
    picture: Path | str | None = None,
    seed: int = 0,
    volume: int | None = None,
    geometry: Form | None = None,
    nan: float | None = None,
    series: str | None = None,
    provenance: bool = True,
    anonymous: bool = False,
    force: bool = False,
    as_json: bool = False,
    tell: Tell = silent,
    verbose: bool = False,
    **options: Any,
) -> list[Result]:
    """Draw into scans as uad-simulate does, and write; returns, for each draw, what `uad-simulate --json` says of it.

    sources: scans, or "-" for a stream on standard input. output: a file, a folder, or "-" for a stream on standard
    output; none: the current folder, or a stream where the source is one (no file at all for as_json). masks: files or
    folders. copies: draws for each scan. picture: a file, or a folder for several draws. options: what the kind has,
    see simulation.plan.Simulation. tell: gets a line for whatever the user should know, and with verbose for each
    draw. Raises UadError.
    """
    inputs, plan = some_scans(sources), _plan(kind, words(masks), options, tell)
    if copies > 1 and output and str(output).lower().endswith(SUFFIXES):
        raise Misuse(f"--output: {output} is one file, and there are {copies} draws (name a folder)")
    writing: dict[str, Any] = {"force": force, "provenance": provenance, "as_json": as_json, "anonymous": anonymous}
    sink = Sink.of("simulated", inputs, output, maps=("truth",), resumed=copies > 1, **writing)
    results: list[Result] = []
    for study in studies(inputs, Reading(volume, geometry, nan, surrounded=True, series=series), tell):
        for copy in range(copies):
            name = f"{study.name}_{copy + 1}" if copies > 1 else study.name
            path = sink.claim(named(study, name))
            several = copies > 1 or len(inputs) > 1 or bool(results)
            drawing = None if picture is None else _drawing(Path(picture), name, sink.sources, several, force)
            drawn = named(simulate(study, plan, seed=seed, copy=copy, tell=tell), name)
            written = {"output": sink.write(drawn, path), "truth": path and str(sink.beside(path, "truth"))}
            results.append({"name": name, **written, **measured(drawn), **carried(drawn)})
            if drawing:
                truth_picture(drawn, drawing, force=force)
            if verbose:
                tell(f"{name}: {kind}, {results[-1]['lesion_ml']:.2f} mL of lesions")
    return results


def _plan(kind: SimulationKind, masks: Sequence[str], options: dict[str, Any], tell: Tell) -> Simulation:
    """Return what to draw. Raises Misuse for what has no effect on this kind."""
    require_masks(kind, masks)
    if masks and kind not in MASKED:
        raise Misuse("--masks: names what --kind masks and cavities draw from, and goes with no other")
    given = {name: value for name, value in options.items() if value is not None}
    plan = Simulation(kind, masks=read_masks(masks, tell), **given)
    if unused := given.keys() - plan.arguments.keys():
        raise Misuse(f"--{min(unused).replace('_', '-')}: has no effect with --kind {kind} (leave it out)")
    return plan


def _drawing(picture: Path, name: str, inputs: Sequence[Path], several: bool, force: bool) -> Path:
    """Return the file to draw a study into. Raises UadError when it cannot be written."""
    if picture.suffix and not picture.is_dir():
        if several:
            raise Misuse(f"--picture: {picture} is one file, and there are several scans (name a folder)")
        path = picture
    else:
        picture.mkdir(parents=True, exist_ok=True)
        path = picture / f"{name}_simulated.png"
    check_picture(path, force=force)
    if path.resolve() in {source.resolve() for source in inputs}:
        raise UadError(f"{path}: is an input, and would be replaced by what is made of it (name another)")
    return path
