"""uad-heal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uadtools.cli import _common as c

if TYPE_CHECKING:
    from uadtools.models.config import ModelConfig
    from uadtools.pipeline.ensemble import Member
    from uadtools.pipeline.plan import Plan
    from uadtools.volume.stream import Study

EXAMPLES = """
  uad-preprocess scan.nii.gz -o - | uad-heal --method sss -t 300 | uad-score | uad-postproc --native -o lesions.nii.gz
  uad-heal prepared.nii.gz                            writes prepared_healed.nii.gz
  uad-heal prepared/*.nii.gz -o healed/ -t 250 -t 300 -t 350 --combine vote
  uad-heal prepared.nii.gz --method blur              a baseline; blur and threshold need no model
"""


def heal(
    inputs: c.Inputs = None,
    output: c.Output = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="M",
            help="Default: the bundled model (T1, adults). Repeat it for the mean of several models' scores.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="sss, ddim, ddpm; or what the model was trained for: pddpm, cddpm, ldm, dae, ae, vae, svae, fanogan, "
            "vqvae; or blur, threshold, which need no model. Default: the model's own.",
            show_default=False,
        ),
    ] = None,
    t: Annotated[
        list[int] | None,
        typer.Option(
            "-t",
            metavar="N",
            help="How far the scan is noised, in steps; repeat it to heal at several and combine.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", min=1, help="Evaluations on the way back (ddim, ldm).", show_default=False
        ),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(
            "--eta",
            metavar="X",
            min=0,
            max=1,
            help="Fresh noise on the way back: 0 none, 1 as ddpm (ddim).",
            show_default=False,
        ),
    ] = None,
    solver: Annotated[
        Literal["ddim", "dpm", "heun"] | None,
        typer.Option(
            "--solver",
            metavar="ddim|dpm|heun",
            help="How steps are taken (ddim): dpm is DPM-Solver++(2M), heun asks twice a step. Default: ddim.",
            show_default=False,
        ),
    ] = None,
    patch: Annotated[
        list[int] | None,
        typer.Option(
            "--patch",
            metavar="N",
            min=1,
            help="Side of the patches in pixels (pddpm); repeat it to heal with several sizes and combine. Default: "
            "the model's.",
            show_default=False,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            "--stride",
            metavar="N",
            min=1,
            help="From one patch to the next, at most (pddpm); less than --patch makes them overlap. Default: the "
            "model's, or as far as covers the slice.",
            show_default=False,
        ),
    ] = None,
    condition: Annotated[
        Path | None,
        typer.Option(
            "--condition",
            metavar="FILE",
            help="A prepared image on the scan's grid to condition the model on in the scan's place (cddpm).",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        Literal["a", "b", "c", "d"] | None,
        typer.Option(
            "--variant",
            metavar="a|b|c|d",
            help="Of ldm: a heals all of the scan; b too, and the score counts in the region alone; c heals the region "
            "alone; d is c in fewer steps, 50 of the bound and 30 back. Default: d.",
            show_default=False,
        ),
    ] = None,
    bounds: Annotated[
        int | None,
        typer.Option(
            "--bounds",
            metavar="N",
            min=1,
            help="Evaluations that tell where the region is (ldm). Default: 50 for variant d, else 200.",
            show_default=False,
        ),
    ] = None,
    chain: Annotated[
        int | None,
        typer.Option(
            "--chain",
            metavar="N",
            min=0,
            help="Evaluations over the whole chain, whose mean bound is one more case score (ldm). Default: 0.",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            metavar="N",
            min=1,
            help="How often each step back is taken, its noise added again in between (ldm, variants a to c).",
            show_default=False,
        ),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            "--sigma", metavar="MM", min=0, help="Width of the Gaussian (blur). Default: 12.", show_default=False
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", metavar="K", min=1, help="Draws for each -t; their spread becomes a map.", show_default=False
        ),
    ] = None,
    combine: Annotated[
        Literal["mean", "vote"] | None,
        typer.Option(
            "--combine",
            metavar="mean|vote",
            help="Several -t: mean of the healed scans, or vote of their detections. Default: mean.",
            show_default=False,
        ),
    ] = None,
    brain: Annotated[
        Path | None,
        typer.Option(
            "--brain",
            metavar="FILE",
            help="Brain mask on the scan's grid; default: where the scan is above 0.",
            show_default=False,
        ),
    ] = None,
    maps: Annotated[
        bool,
        typer.Option(
            "--maps",
            help="Write the method's other maps beside the healed scan, too: NAME_spread.nii.gz, and with ldm "
            "NAME_region.nii.gz, NAME_bound.nii.gz and NAME_chain.nii.gz.",
        ),
    ] = False,
    strict: c.Strict = False,
    seed: c.Seed = 0,
    device: c.Device = "auto",
    precision: c.Precision = "auto",
    batch: c.Batch = 0,
    volume: c.Volume = None,
    provenance: c.Provenance = True,
    force: c.Force = False,
    as_json: c.Json = False,
    quiet: c.Quiet = False,
    verbose: c.Verbose = False,
    version: c.Version = False,
) -> None:
    """Turn scans into the healthy scans that a model believes in."""
    from uadtools.cli._studies import Sink, print_json, read_mask, studies, with_brain
    from uadtools.methods import needs_model
    from uadtools.models.checkpoint import default_path, read_config
    from uadtools.pipeline.ensemble import heal_with, slices_at_once, slices_of
    from uadtools.pipeline.many import ahead, gathered
    from uadtools.pipeline.plan import plan
    from uadtools.volume.stream import read_path

    by_itself = method is not None and not needs_model(method)
    if model and by_itself:
        raise c.usage(f"--method {method} needs no model (leave it out)", "--model")
    paths: list[Path] = [] if by_itself else model or [default_path()]
    own = {"steps": steps, "eta": eta, "solver": solver, "sigma": sigma, "stride": stride}
    own_of_ldm = {"variant": variant, "bounds": bounds, "chain": chain, "repeats": repeats}
    given: dict[str, Any] = own | own_of_ldm | {"patch": patch or (), "combine": combine or "mean"}
    configs: list[ModelConfig | None] = [read_config(path) for path in paths]
    hows = [plan(config, method=method, t=t or (), samples=samples, **given) for config in configs or [None]]
    how = hows[0]
    if combine and len(how.options) == 1:
        raise c.usage("one -t leaves nothing to combine (repeat -t)", "--combine")
    kept = how.maps if maps else ()
    sink = Sink.of("healed", inputs, output, force=force, provenance=provenance, as_json=as_json, maps=kept)
    if maps and sink.target is None:
        raise c.usage("no file is written that maps could lie beside (a stream holds them all)", "--maps")
    if maps and not kept:
        raise c.usage("one draw has no spread, and there is no other map (several -t, or --samples)", "--maps")
    mask, tell = read_mask(brain), c.teller("uad-heal", quiet)
    shown = replace(next(read_path(condition)), name=condition.name) if condition else None

    models, results = _Models(paths, hows, device, precision), list[dict[str, Any]]()

    def done(study: Study, output: str | None) -> None:
        results.append({"name": study.name, "output": output, **models.arguments, **c.carried(study, tell)})
        if verbose:
            tell(f"{study.name}: {models}")

    jobs = ((with_brain(study, mask), sink.claim(study)) for study in ahead(studies(inputs, volume)))
    groups = gathered(
        jobs, lambda job: slices_of(job[0], models.members), lambda: slices_at_once(models.members, batch)
    )
    with sink.behind(done) as write:
        for group in groups:
            scans, targets = zip(*group, strict=True)
            with c.progress(f"healing {scans[0].name if len(scans) == 1 else f'{len(scans)} scans'}", quiet) as watch:
                made = heal_with(scans, models.members, condition=shown, seed=seed, batch=batch, watch=watch)
            for study, target in zip(made, targets, strict=True):
                write(study, target)
    if as_json:
        print_json(results)
    c.leave(results, strict)


@dataclass
class _Models:
    """The models to heal with, or none, and how; they are loaded when the first scan is there."""

    paths: Sequence[Path]
    hows: Sequence[Plan]
    device: str
    precision: str

    @cached_property
    def members(self) -> list[Member]:
        from uadtools.pipeline.ensemble import Member

        if not self.paths:
            return [Member(None, self.hows[0])]
        from uadtools.models.model import load_model

        loaded = [load_model(path, device=self.device, precision=self.precision) for path in self.paths]
        c.keep_memory()
        return [Member(model, how) for model, how in zip(loaded, self.hows, strict=True)]

    @property
    def arguments(self) -> dict[str, Any]:
        each = [how.arguments for how in self.hows]
        return each[0] if len(each) == 1 else {"models": each}

    def __str__(self) -> str:
        first, how = self.members[0].model, self.hows[0]
        steps_back = [f"t {', '.join(map(str, how.arguments['t']))}"] if how.noisy else []
        where = [f"{first.device}, {first.precision}"] if first else []
        where += [f"{len(self.members)} models"] if len(self.members) > 1 else []
        return ", ".join([how.method, *steps_back, *where])


COMMAND = c.Command(heal, "uad-heal", EXAMPLES)
main = COMMAND.run
