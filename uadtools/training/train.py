"""uad-train: learn healthy anatomy from healthy scans."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

import torch

from uadtools import methods
from uadtools.errors import UadError
from uadtools.files import check_free
from uadtools.methods.base.recipe import Recipe
from uadtools.models.checkpoint import read_config, read_tensors, save_model
from uadtools.models.kinds import kind
from uadtools.models.model import load_model, pick_device, pick_precision
from uadtools.training.corrupted import load_masks
from uadtools.training.data import Slices, fingerprint, load_slices, quantiles
from uadtools.training.journal import board_of, kept_rows, row, write_log
from uadtools.training.loop import Progress, Trainer
from uadtools.training.recipe import load_recipe
from uadtools.training.start import start_from
from uadtools.training.state import State, fresh, load_state, save_state
from uadtools.training.team import joined

SAVE_SECONDS = 60.0


class Summary(TypedDict, total=False):
    """Of a run: the files, steps taken, the last report's loss, slices (or volumes) learnt from, and weights.

    Beside these it has what the model's kind measures at the end. It is empty in a process that does not lead its team.
    """

    model: str
    steps: int
    loss: float | None
    best_validation: float | None
    last: str
    log: str
    slices: int
    parameters: int


@dataclass(frozen=True)
class Outputs:
    """The files of a run, named after the model: the best and the last weights, the state for --resume, the log."""

    best: Path
    log_folder: Path | None = None

    @property
    def last(self) -> Path:
        return self.best.with_suffix(".last.safetensors")

    @property
    def state(self) -> Path:
        return self.best.with_suffix(".resume.safetensors")

    @property
    def log(self) -> Path:
        return self.log_folder / "log.csv" if self.log_folder else self.best.with_suffix(".csv")

    @property
    def drawn(self) -> tuple[Path, ...]:
        """What was drawn for the slices, where a folder is named for the log."""
        return (self.log_folder / "drawn.jsonl",) if self.log_folder else ()


def train(  # noqa: PLR0913  one parameter per option
    sources: str | Sequence[str],
    model: Path | str,
    recipe: Recipe | str,
    *,
    changes: Sequence[str] = (),
    validation: str | Sequence[str] = (),
    seed: int = 0,
    resume: bool = False,
    force: bool = False,
    seconds: float = float("inf"),
    device: str = "auto",
    precision: str = "auto",
    log: Path | None = None,
    anonymous: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Train a model and write it.

    recipe: or its name, with changes of it such as "training.steps=1000". sources, validation: as in
    training.data.load_slices; the weights with the lowest validation loss are kept in `model`, the last ones beside it
    (without validation data the last ones are the best). seconds: stop after that.
    resume: go on from the state kept beside `model`; the result equals that of a run that was never stopped. A finished
    run resumed with other defaults (method, t, thresholds) takes them over, and trains no further.
    anonymous: do not name the data in the model file. watch: is called at every report. Where torchrun started several
    processes, they train one model together, and all but the first return nothing. Raises UadError.
    """
    if changes and not isinstance(recipe, str):
        raise UadError("changes are to a recipe that is named (load_recipe makes them to one that is loaded)")
    recipe = load_recipe(recipe, changes) if isinstance(recipe, str) else recipe
    sources, validation = ((names,) if isinstance(names, str) else names for names in (sources, validation))
    methods.check_default(recipe.defaults.method, recipe.kind)
    outputs = Outputs(Path(model), log)
    corrupting = recipe.corrupting
    labels, masks = (corrupting.labels, corrupting.masks) if corrupting else ((), ())
    read = partial(load_slices, grid=recipe.grid, min_brain=recipe.data.min_brain, solid=recipe.solid, labels=labels)
    with joined(device) as (team, device_name):
        if team.leads:
            _check_outputs(outputs, resume=resume, force=force)
        slices = read(sources)
        held_out = read(validation) if validation else None
        torch_device = pick_device(device_name)
        state, about = _begin(recipe, slices, seed, torch_device, outputs.state if resume else None)
        trainer = Trainer(
            recipe, slices, held_out, seed, torch_device, _precision(precision, torch_device, recipe),
            () if anonymous else tuple(Path(source).name for source in sources),
            quantiles(slices), about["started_from"], team,
            tuple(load_masks(masks, recipe.grid.spacing, recipe.reach)),
        )  # fmt: skip
        end = time.monotonic() + seconds
        reports = trainer.run(state, stop=lambda: time.monotonic() > end)
        if not team.leads:
            deque(reports, maxlen=0)
            return {}
        last = _kept(outputs, trainer, state, about, reports, watch, resume=resume)
    measured = _completed(outputs.best, held_out or slices, seed, torch_device)
    summary: Summary = {
        "model": str(outputs.best),
        "steps": state.step,
        "loss": last.loss if last else None,
        "best_validation": state.best if state.best < float("inf") else None,
        "last": str(outputs.last),
        "log": str(outputs.log),
        "slices": len(slices),
        "parameters": sum(p.numel() for p in state.net.parameters()),
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
    resume: bool,
) -> Progress | None:
    """Train, and write what is to be kept on the way and at the end; returns the last report."""
    saved, last = time.monotonic(), None
    rows = kept_rows(outputs.log, state.step) if resume else []
    if outputs.log_folder:
        outputs.log_folder.mkdir(parents=True, exist_ok=True)
    board = board_of(outputs.log_folder, state.step)

    def keep() -> None:
        _save_model(outputs.last, trainer, state, state.average)
        write_log(outputs.log, rows)
        save_state(outputs.state, state, about)

    for progress in reports:
        last = progress
        rows.append(row(progress))
        board(progress)
        if progress.improved:
            _save_model(outputs.best, trainer, state, state.average)
        if progress.improved or time.monotonic() - saved > SAVE_SECONDS:
            keep()
            saved = time.monotonic()
        watch(progress)
    keep()
    if state.best < float("inf") and outputs.best.exists():
        _settle(outputs.best, trainer)
    else:  # no validation has chosen weights: the last ones are the best
        _save_model(outputs.best, trainer, state, state.average)
    return last


def _begin(
    recipe: Recipe, slices: Slices, seed: int, device: torch.device, resumed: Path | None
) -> tuple[State, dict[str, Any]]:
    """Return the state to train from, fresh or from a file, and what is noted with it and decides what it becomes."""
    about: dict[str, Any] = {"recipe": _fixed(recipe), "data": fingerprint(slices), "seed": seed}
    state = fresh(recipe, seed, device)
    note = load_state(resumed, state, about) if resumed else {"started_from": start_from(state, recipe, slices)}
    return state, about | {"started_from": note.get("started_from", "")}


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """Return what must stay the same when a run goes on: not the defaults, nor the number of steps if it may grow."""
    planned = recipe.optimiser.decay or recipe.first_usable
    free: dict[str, Any] = {"defaults": True} | ({} if planned else {"training": {"steps"}})
    return recipe.model_dump(mode="json", exclude=free)


def _check_outputs(outputs: Outputs, *, resume: bool, force: bool) -> None:
    if outputs.best.suffix != ".safetensors":
        raise UadError(f"{outputs.best}: a model file ends in .safetensors (change -o)")
    if resume and not outputs.state.exists():
        start = "--force instead of --resume starts over" if outputs.best.exists() else "leave out --resume"
        raise UadError(f"{outputs.state}: no such file, so there is nothing to resume ({start})")
    for path in (outputs.best, outputs.last, outputs.state, outputs.log, *outputs.drawn):
        if path.parent != outputs.log_folder or path.parent.exists():
            check_free(path, force=force or resume)


def _save_model(path: Path, trainer: Trainer, state: State, net: torch.nn.Module) -> None:
    recipe = trainer.recipe
    training = {
        "recipe": recipe.name,
        "source": recipe.source,
        "steps": state.step,
        "batch": recipe.training.batch,
        "data": list(trainer.data),
        "slices": len(trainer.slices),
        "best_validation": state.best if state.best < float("inf") else None,
        "precision": str(trainer.precision).removeprefix("torch."),
        **({"started_from": trainer.started_from} if trainer.started_from else {}),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {trainer.device.type}",
    }
    save_model(path, recipe.model(training, trainer.quantiles), net.state_dict())


def _settle(path: Path, trainer: Trainer) -> None:
    """Give a model the recipe's defaults, which may have changed since its weights were chosen: they train nothing."""
    config = read_config(path)
    settled = config.model_copy(update={"defaults": trainer.recipe.defaults, "quantiles": trainer.quantiles})
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


def _precision(name: str, device: torch.device, recipe: Recipe) -> torch.dtype:
    """Pick the type to compute in. On a CPU volumes are learnt in float32: in bf16 torch 2.13 makes gradients of them
    that are now and then no numbers. Raises UadError when that is asked for.
    """
    if not (recipe.solid and device.type == "cpu"):
        return pick_precision(name, device)
    if name == "bf16":
        raise UadError("--precision bf16: volumes are learnt in fp32 on a CPU (leave it out)")
    return torch.float32
