"""The state of a training run between two steps, kept so that a killed run goes on as if nothing had happened.

Everything random in a step is drawn from a generator seeded with (seed, step), so there are no generator states to
keep: weights, their average, the optimiser's moments and the number of the step are all.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from uadtools.errors import UadError
from uadtools.files import parse_json
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import read_metadata, read_tensors, write_tensors
from uadtools.models.model import build
from uadtools.nets.layout import layout
from uadtools.settings import Config

_KEY = "uadtools-training"
_SILENT = {"positions": "grid", "loss_on": "patch"}
"""What settings say nothing, which not every version wrote for every kind; beside those of None."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class _Note(Config):
    """What is noted with a state of how far it is, how far it is to go, and what it began with."""

    step: Annotated[int, Field(ge=0)]
    best: float | None
    planned: Annotated[int, Field(ge=0)] = 0
    started_from: str = ""


@dataclass
class State:
    """net is trained; average holds the moving average of its weights, which is what heals."""

    net: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0
    best: float = float("inf")


def fresh(recipe: Recipe, seed: int, device: torch.device) -> State:
    """Start a run: weights drawn from the seed, the average equal to them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(recipe)
    net = net.to(device, memory_format=layout(3 if recipe.solid else 2))  # type: ignore[call-overload]
    average = copy.deepcopy(net).eval().requires_grad_(False)
    config = recipe.optimiser
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    return State(net, average, optimiser)


def save_state(path: Path, state: State, about: dict[str, Any]) -> None:
    """Write the state; a kill in the middle leaves the one before. about: what must be equal on resumption."""
    tensors = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for name, parameter in state.net.named_parameters():
        moments = state.optimiser.state.get(parameter, {})
        tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS if moment in moments}
    note = {"step": state.step, "best": state.best if state.best < float("inf") else None, **about}
    write_tensors(path, tensors, {_KEY: json.dumps(note)})


def load_state(path: Path, state: State, about: dict[str, Any]) -> dict[str, Any]:
    """Fill a fresh state from a file; returns what was noted with it.

    Raises UadError when it belongs to another recipe, other data or another seed.
    """
    note = _read_note(path)
    if changed := [key for key, value in about.items() if not _same(note.get(key), value)]:
        raise UadError(f"{path}: belongs to a run with another {', '.join(changed)} (the same is needed to resume it)")
    tensors = read_tensors(path)
    try:
        state.net.load_state_dict(part(tensors, "net"))
        state.average.load_state_dict(part(tensors, "average"))
    except RuntimeError:
        raise UadError(f"{path}: its weights do not fit the recipe") from None
    for name, parameter in state.net.named_parameters():
        moments = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS if f"{moment}.{name}" in tensors}
        shapes = {moment: () if moment == "step" else parameter.shape for moment in _MOMENTS if moments}
        if {moment: tuple(value.shape) for moment, value in moments.items()} != shapes:
            raise UadError(f"{path}: the optimiser's state of {name} is damaged (leave out --resume)")
        if moments:
            state.optimiser.state[parameter] = {
                k: v if k == "step" else torch.empty_like(parameter).copy_(v)  # laid out alike, as fused steps need it
                for k, v in moments.items()
            }
    state.step, best = note["step"], note["best"]
    state.best = float("inf") if best is None else best
    return note


def _read_note(path: Path) -> dict[str, Any]:
    """Return what was noted with a state. Raises UadError for a file that is none."""
    try:
        note = parse_json(read_metadata(path).get(_KEY, ""))
        known = _Note.model_validate({key: note[key] for key in _Note.model_fields if key in note})
        return {**note, **known.model_dump(exclude_unset=True)}
    except (ValueError, TypeError):
        raise UadError(
            f"{path}: not the state of a training run (expected what uad-train keeps for --resume)"
        ) from None


def _same(noted: Any, wanted: Any) -> bool:
    """Tell whether what was noted is as wanted, in all that is asked for."""
    if not isinstance(noted, dict) or not isinstance(wanted, dict):
        return bool(noted == wanted)
    return all(_same(noted.get(key, _SILENT.get(key)), value) for key, value in wanted.items())


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors below a prefix, without it."""
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}
