"""uad-train: learn healthy anatomy from healthy scans."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, cast

import torch

from uadtools import methods
from uadtools.concerns import Tell, told
from uadtools.datasets.sources import words
from uadtools.errors import UadError
from uadtools.interface.learning import Donor
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import read_config, read_tensors, save_model
from uadtools.models.kinds import kind
from uadtools.models.model import load_model, pick_device
from uadtools.training.clock import Clock
from uadtools.training.corrupted import load_masks
from uadtools.training.data import Slices, fingerprint, quantiles
from uadtools.training.journal import board_of, kept_rows, row, write_log
from uadtools.training.loop import Progress, Trainer, precision_for, validate
from uadtools.training.outputs import Outputs
from uadtools.training.reading import Sources, read
from uadtools.training.recipe import load_recipe
from uadtools.training.start import donor_of, start_from, teacher_of
from uadtools.training.state import State, fresh, load_state, save_state
from uadtools.training.team import joined

SAVE_SECONDS = 60.0


class Summary(TypedDict, total=False):
    """Of a run: the files, steps taken, those of the weights in `model`, those planned, the last report's loss, slices
    (or volumes) learnt from, weights, and what speaks against the scans.

    Beside these it has what the model's kind measures at the end. It is empty in a process that does not lead its team.
    """

    model: str
    steps: int
    kept_steps: int
    planned_steps: int
    loss: float | None
    best_validation: float | None
    last: str
    log: str
    slices: int
    parameters: int
    concerns: list[dict[str, Any]]


def train(  # noqa: PLR0913  one parameter per option
    sources: str | Sequence[str],
    model: Path | str,
    recipe: Recipe | str,
    *,
    changes: Sequence[str] = (),
    validation: str | Sequence[str] = (),
    labels: str | Sequence[str] = (),
    label: Sequence[int] = (),
    ignore: Sequence[int] = (),
    sick: str | Sequence[str] = (),
    sick_validation: str | Sequence[str] = (),
    sick_slices: str | Sequence[str] = (),
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
    seconds: float = float("inf"),
    device: str = "auto",
    precision: str = "auto",
    log: Path | None = None,
    anonymous: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    tell: Tell = lambda text: None,
) -> Summary:
    """Train a model and write it.

    recipe: or its name, with changes of it such as "training.steps=1000". sources, validation: as in
    training.data.load_slices; the weights with the lowest validation loss are kept in `model`, the last ones beside it
    (without validation data the last ones are the best). labels: masks of the lesions in all of these, for recipes that
    learn from them (training.lesions); label, ignore: which of their labels count, and which count neither way.
    sick, sick_validation: sick scans beside these, for recipes that are told of them, which sources may then lack;
    sick_slices: masks of the lesions in them, by which slices are sick or healthy (training.sick).
    seconds: of real time, reading, the last validation and saving included; then it stops.
    resume: go on from the state kept beside `model`; the result equals that of a run that was never stopped. With more
    steps a finished run goes on, too: with the rate that the longer run has then, which is another one where the rate
    had begun to fall. One resumed with other defaults (method, t, thresholds) takes them over, and trains no further.
    anonymous: name no data in the model. watch: is called at every report. tell: gets one line for whatever the user
    should know. Where torchrun started several processes, they train one model together, and all but the first return
    nothing. Raises UadError.
    """
    clock = Clock(seconds)
    if changes and not isinstance(recipe, str):
        raise UadError("changes are to a recipe that is named (load_recipe makes them to one that is loaded)")
    recipe = load_recipe(recipe, changes) if isinstance(recipe, str) else recipe
    given = Sources(
        words(sources), words(validation), words(labels), label, ignore,
        words(sick), words(sick_validation), words(sick_slices),
    )  # fmt: skip
    methods.check_default(recipe.defaults.method, recipe.kind)
    outputs = Outputs(Path(model), log)
    masks, known = given.known(recipe)
    with joined(device) as (team, device_name):
        if team.leads:
            outputs.check(resume=resume, force=force)
        origin = outputs.state if resume else donor_of(recipe)
        drawn_with = recipe.corrupting.masks if recipe.corrupting else ()
        shapes = tuple(load_masks(drawn_with, recipe.grid.spacing, recipe.reach))
        slices, held_out, concerns = read(recipe, given, masks, known, tell)
        torch_device = pick_device(device_name)
        state, about = _begin(recipe, slices, seed, torch_device, origin, tell)
        trainer = Trainer(
            recipe, slices, held_out, seed, torch_device, precision_for(precision, torch_device, recipe),
            () if anonymous else tuple(Path(source).name for source in given.learnt), quantiles(slices),
            about["started_from"], team, shapes, teacher_of(recipe, about["started_from"], device_name, precision),
        )  # fmt: skip
        clock.lap("reading")
        reports = trainer.run(state, stop=lambda: clock.over(trainer.batches_next(state)))
        if not team.leads:
            deque(reports, maxlen=0)
            return {}
        last = _kept(outputs, trainer, state, about, reports, watch, clock=clock)
        best = _judged(outputs, trainer, state, clock, tell) if last else state.best
    measured = _completed(outputs.best, held_out or slices, seed, torch_device)
    summary: Summary = {
        "model": str(outputs.best),
        "steps": state.step,
        "kept_steps": read_config(outputs.best).training["steps"],
        "planned_steps": recipe.training.steps,
        "loss": last.loss if last else None,
        "best_validation": best if best < float("inf") else None,
        "last": str(outputs.last),
        "log": str(outputs.log),
        "slices": len(slices),
        "parameters": sum(p.numel() for p in state.net.parameters()),
        "concerns": told(concerns),
    }
    return cast(Summary, {**measured, **summary})


def _kept(
    outputs: Outputs,
    trainer: Trainer,
    state: State,
    about: dict[str, Any],
    reports: Iterator[Progress],
    watch: Callable[[Progress], None],
    *,
    clock: Clock,
) -> Progress | None:
    """Train, and write what is to be kept on the way and at the end; returns the last report."""
    saved, last = time.monotonic(), None
    rows = kept_rows(outputs.log, state.step) if state.step else []
    if outputs.log_folder:
        outputs.log_folder.mkdir(parents=True, exist_ok=True)
    board = board_of(outputs.log_folder, state.step)

    def keep() -> None:
        _save_model(outputs.last, trainer, state, state.average)
        write_log(outputs.log, rows)
        save_state(outputs.state, state, about)

    for progress in reports:
        last = progress
        clock.lap("step" if progress.validation is None else "validation")
        rows.append(row(progress))
        board(progress)
        if progress.improved:
            _save_model(outputs.best, trainer, state, state.average)
        if progress.improved or time.monotonic() - saved > SAVE_SECONDS:
            keep()
            saved = time.monotonic()
            clock.lap("saving")
        watch(progress)
    keep()
    if state.best < float("inf") and outputs.best.exists():
        _settle(outputs.best, trainer)
    else:  # no validation has chosen weights: the last ones are the best
        _save_model(outputs.best, trainer, state, state.average)
    return last


def _judged(outputs: Outputs, trainer: Trainer, state: State, clock: Clock, tell: Tell) -> float:
    """Return the lowest validation loss; where no validation was due, that of the last weights, if there is time.

    It is written into the model, and chooses nothing: a run that goes on does not know of it.
    """
    if trainer.validation is None or state.best < float("inf"):
        return state.best
    every = f"within {state.step:,} steps (training.validate_every is {trainer.recipe.training.validate_every:,})"
    if state.step <= trainer.recipe.first_usable:
        tell(f"--val had no effect: the weights can heal nothing before step {trainer.recipe.first_usable + 1:,}")
    elif not clock.affords(trainer.batches):
        tell(f"--val had no effect: no validation was due {every}, and the time was too short for one")
    else:
        best = validate(trainer, state.average)
        _save_model(outputs.best, trainer, replace(state, best=best), state.average)
        tell(f"validated once, after the last step: {best:.4f}; no validation was due {every}")
        return best
    return state.best


def _begin(
    recipe: Recipe, slices: Slices, seed: int, device: torch.device, origin: Path | Donor | None, tell: Tell
) -> tuple[State, dict[str, Any]]:
    """Return the state to train from, and what is noted with it and decides what it becomes.

    origin: the file of a state to go on from; else what fresh weights are taken from, None for nothing.
    """
    resumed, donor = (origin, None) if isinstance(origin, Path) else (None, origin)
    about: dict[str, Any] = {"recipe": _fixed(recipe), "data": fingerprint(slices), "seed": seed}
    state = fresh(recipe, seed, device)
    note: dict[str, Any] = {"recipe": {"training": {}}}
    note |= load_state(resumed, state, about) if resumed else {"started_from": start_from(donor, state, recipe, slices)}
    steps = recipe.training.steps
    planned = note.get("planned", note["recipe"]["training"].get("steps", steps))
    if resumed and state.step >= steps:
        tell(f"{state.step:,} steps were taken already, so there is nothing left to do (more --steps go on)")
    elif planned != steps and state.step > planned - recipe.optimiser.decay:
        tell(
            f"the learning rate had begun to fall towards step {planned:,}; it rises again, to fall towards {steps:,}; "
            "the weights will differ from those of an uninterrupted run"
        )
    return state, about | {"started_from": note.get("started_from", ""), "planned": steps}


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """Return what must stay the same when a run goes on: not what is free, nor the number of steps if it may grow."""
    free: dict[str, Any] = dict.fromkeys(recipe.FREE, True)
    return recipe.model_dump(mode="json", exclude=free if recipe.first_usable else free | {"training": {"steps"}})


def _save_model(path: Path, trainer: Trainer, state: State, net: torch.nn.Module) -> None:
    recipe = trainer.recipe
    training = {
        "recipe": recipe.name,
        "source": recipe.source,
        "steps": state.step,
        "planned": recipe.training.steps,
        "batch": recipe.training.batch,
        "data": list(trainer.data),
        "slices": len(trainer.slices),
        **({"slices_with_lesions": len(trainer.slices.sick)} if trainer.slices.labels is not None else {}),
        **({"sick_slices": len(trainer.slices.sick)} if trainer.slices.kinds is not None else {}),
        "best_validation": state.best if state.best < float("inf") else None,
        "precision": str(trainer.precision).removeprefix("torch."),
        **({"started_from": trainer.started_from} if trainer.started_from else {}),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {trainer.device.type}",
    }
    save_model(path, recipe.model(training, trainer.quantiles), net.state_dict())


def _settle(path: Path, trainer: Trainer) -> None:
    """Give a model what is free in the recipe, and may have changed since its weights were chosen."""
    config, recipe = read_config(path), trainer.recipe
    training = config.training | {"planned": recipe.training.steps}
    free = {name: getattr(recipe, name) for name in recipe.FREE}
    settled = config.model_copy(update={**free, "training": training, "quantiles": trainer.quantiles})
    if config != settled:
        save_model(path, settled, read_tensors(path))


def _completed(path: Path, healthy: Slices, seed: int, device: torch.device) -> dict[str, Any]:
    """Add to a model what its kind measures once the weights are chosen; returns what was measured."""
    config = read_config(path)
    finish = getattr(kind(config.kind), "finish", None)
    if finish is None:
        return {}
    tensors, measured = finish(load_model(path, device=str(device)), healthy, seed)
    finished = config.model_copy(update={"training": config.training | measured})
    save_model(path, finished, read_tensors(path) | tensors)
    return dict(measured)
