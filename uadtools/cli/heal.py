"""uad-heal."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from uadtools import methods
from uadtools.program import command as c
from uadtools.program import options as o
from uadtools.program.method_options import method_help, with_options_of_methods

EXAMPLES = """
  uad-heal scan.nii.gz --method sss -t 300            a raw scan; writes scan_healed.nii.gz and scan_preprocessed.nii.gz
  uad-heal scan.nii.gz -o - | uad-score | uad-postproc --native -o lesions.nii.gz
  uad-preprocess scan.nii.gz --bias-correct -o - | uad-heal --prepared -o healed.nii.gz
  uad-heal prepared.nii.gz                            writes prepared_healed.nii.gz
  uad-heal prepared/*.nii.gz -o healed/ -t 250 -t 300 -t 350 --combine vote
  uad-heal prepared.nii.gz --method blur              a baseline; blur and threshold need no model
"""
Combine = Literal["mean", "vote"]
Adapted = Literal["curve", "all"]
Engine = Literal["auto", "torch", "onnx"]


def heal(
    inputs: list[str] | None = o.INPUTS,
    output: str | None = o.OUTPUT,
    bids: Path | None = o.BIDS,
    suffix: str | None = o.SUFFIX,
    model: list[Path] | None = o.option(
        """--model M
        A model file, or the name of a bundled model. Default: the bundled model that suits the scan (adults), or
        the one that can do the method. Repeat it for the mean of several models' scores.""",
        autocompletion=o.bundled_names,
    ),
    method: str | None = o.option(f"--method NAME  {method_help()}", autocompletion=methods.names),
    t: list[int] | None = o.option("""-t N
        How far the scan is noised, in steps, or the highest severity to be expected, of 1000 (restore, disyre);
        repeat it to heal at several and combine."""),
    steps: int | None = o.option(
        """--steps N
        Evaluations on the way back (ddim, encode, guided, counterfactual, cfg, derivative, distilled, disyre, ldm,
        bernoulli, segment, lsegdiff), on the way up (anofpdm), or of the range of t (andi).""",
        min=1,
    ),
    condition: Path | None = o.option("""--condition FILE
        A prepared image on the scan's grid to condition the model on in the scan's place (cddpm)."""),
    samples: int | None = o.option("--samples K  Draws for each -t; their spread becomes a map.", min=1),
    combine: Combine | None = o.option(f"""--combine {o.choices(Combine)}
        Several -t: mean of the healed scans, or vote of their detections. Default: mean."""),
    adapt: Adapted | None = o.option(f"""--adapt {o.choices(Adapted)}
        Fit the model to each scan before it heals it, where it looks as healthy scans do: the curve of intensities by
        which it sees it, or the scales of its normalisation layers, too, which may learn large lesions away. For
        methods that ask the network once (restore, sss); takes several times as long."""),
    brain: Path | None = o.option("""--brain FILE
        Brain mask on the scan's grid; default: where the scan is above 0, and in one that was not prepared what
        uad-preprocess finds."""),
    prepared: bool = o.flag("--prepared  Refuse scans that were not prepared, instead of preparing them first."),
    maps: bool = o.flag("""--maps
        Write the method's other maps beside the healed scan, too: NAME_spread.nii.gz, with ldm
        NAME_region.nii.gz, NAME_bound.nii.gz and NAME_chain.nii.gz, with transformer
        NAME_region.nii.gz and NAME_nll.nii.gz, with autoddpm and thor
        NAME_perceptual.nii.gz. NAME_probability.nii.gz and NAME_expected.nii.gz (restore, disyre) and
        NAME_anomaly.nii.gz (autoddpm, thor, counterfactual) are always written, as the score needs them."""),
    strict: bool = o.STRICT,
    seed: int = o.SEED,
    engine: Engine = o.option(
        f"""--engine {o.choices(Engine)}
        What computes; onnx: onnxruntime, on a CPU, for models and methods with an exported form (those of restore that
        ship; uad-models export), which starts in a fraction of the time. Default: auto, onnx where it is installed
        (extra light) and can.""",
        "auto",
    ),
    device: str = o.DEVICE,
    precision: o.Precision = o.PRECISION,
    batch: int = o.BATCH,
    volume: int | None = o.VOLUME,
    geometry: o.Form | None = o.GEOMETRY,
    nan: float | None = o.NAN,
    series: str | None = o.SERIES,
    provenance: bool = o.PROVENANCE,
    anonymous: bool = o.ANONYMOUS,
    force: bool = o.FORCE,
    as_json: bool = o.JSON,
    quiet: bool = o.QUIET,
    verbose: bool = o.VERBOSE,
    version: bool = o.VERSION,
    **of_methods: Any,
) -> None:
    """Turn scans into the healthy scans that a model believes in.

    A scan that was not prepared is prepared first, as uad-preprocess would by default. Of several files, one that
    fails is told and does not stop the others.
    """
    from uadtools.cohort.heal import heal_all

    tell = c.teller("uad-heal", quiet)
    options = {"steps": steps, "samples": samples, "adapt": adapt, **of_methods}
    results = heal_all(
        inputs or (() if bids else "-"),
        output,
        bids=bids,
        suffix=suffix,
        model=model or (),
        method=method,
        t=t or (),
        combine=combine,
        condition=condition,
        brain=brain,
        prepared=prepared,
        maps=maps,
        seed=seed,
        engine=engine,
        device=device,
        precision=precision,
        batch=batch,
        volume=volume,
        geometry=geometry,
        nan=nan,
        series=series,
        provenance=provenance,
        anonymous=anonymous,
        force=force,
        as_json=as_json,
        tell=tell,
        fail=c.teller_of_faults("uad-heal"),
        progress=lambda text: c.progress(text, quiet),
        verbose=verbose,
        **{name: value for name, value in options.items() if value is not None and value is not False and value != []},
    )
    if as_json:
        c.print_json(results)
    c.tell_done(results, tell)
    c.leave(results, strict)


COMMAND = c.Command(with_options_of_methods(heal), "uad-heal", EXAMPLES)
main = COMMAND.run
