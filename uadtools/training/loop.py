"""The training step, the validation and the loop around them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadtools.corrupting.fields import Floats
from uadtools.errors import UadError
from uadtools.interface.learning import Batch, Seeds, spread_out
from uadtools.interface.recipe import Recipe, WeakDataConfig
from uadtools.models.kinds import kind
from uadtools.models.model import Model, pick_precision
from uadtools.nets.layout import packed
from uadtools.training.augment import Drawn, apply, apply_to_labels, draw
from uadtools.training.corrupted import Corruptor, DrawnItems
from uadtools.training.data import Slices
from uadtools.training.state import State
from uadtools.training.team import ALONE, Team

PATIENCE = 30.0
"""Seconds without a report, at most, but for the step under way: the caller saves, shows and stops at reports."""


@dataclass(frozen=True)
class Progress:
    """What the loop reports after a step: the loss averaged since the last report, and what was measured then.

    drawn: how the slices of this step were changed; measured: what the kind of model has to tell at a validation.
    """

    step: int
    loss: float
    seconds_per_step: float
    drawn: Drawn | DrawnItems
    validation: float | None = None
    improved: bool = False
    measured: Any = None


@dataclass(frozen=True)
class Trainer:
    """One recipe on one machine.

    slices, validation: what is learnt from and judged on; data: what they are from; quantiles: of their intensities;
    started_from: the model whose encoder it began with; team: the processes that train it together; masks: shapes of
    anomalies; teacher: the model that is asked at every step, where the recipe is taught.
    """

    recipe: Recipe
    slices: Slices
    validation: Slices | None
    seed: int
    device: torch.device
    precision: torch.dtype
    data: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    started_from: str = ""
    team: Team = ALONE
    masks: tuple[Floats, ...] = ()
    teacher: Model | None = None

    def run(self, state: State, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
        """Train from state.step to the recipe's last step, or until stop() says so.

        Reports every log_every steps, after PATIENCE seconds without a report, and wherever the state is validated
        (every validate_every steps and at the end).
        Between two reports the state is that of the step reported, so the caller may save it.
        """
        settings = self.recipe.training
        total, count, since = 0.0, 0, time.perf_counter()
        stopping = self.team.any(stop())
        batches = self._batches(state.step)
        while state.step < settings.steps and not stopping:
            batch, drawn, seed = next(batches)
            loss = self._step(state, batch, seed)
            stopping = self.team.any(stop())
            total, count = total + loss, count + 1
            waited = time.perf_counter() - since
            due = state.step % settings.log_every == 0 or state.step % settings.validate_every == 0
            if not (due or state.step == settings.steps or waited > PATIENCE or stopping):
                continue
            speed = waited / count
            if not np.isfinite(total):
                raise UadError(f"the loss is {total} at step {state.step}: training diverged (lower the learning rate)")
            yield self._report(state, Progress(state.step, total / count, speed, drawn))
            total, count, since = 0.0, 0, time.perf_counter()

    def _report(self, state: State, progress: Progress) -> Progress:
        due = self.due(state.step)
        if not due or self.validation is None:
            return replace(progress, improved=due)
        loss = validate(self, state.average)
        improved = loss < state.best
        state.best = min(loss, state.best)
        measure = getattr(kind(self.recipe.kind), "measure", None)
        measured = measure(state.average, self.validation, self.device) if measure else None
        return replace(progress, validation=loss, improved=improved, measured=measured)

    def due(self, step: int) -> bool:
        """Tell whether the state after a step is validated, or without validation data kept."""
        settings = self.recipe.training
        return (step % settings.validate_every == 0 or step == settings.steps) and step > self.recipe.first_usable

    @property
    def batches(self) -> int:
        """Batches of a validation; 0 where there is nothing to validate on."""
        return 0 if self.validation is None else math.ceil(len(judged(self)) / self.recipe.training.batch)

    def batches_next(self, state: State) -> int:
        """Batches of the validation after the next step: one that is due, or the only one, if that is the last."""
        return self.batches if self.due(state.step + 1) or state.best == float("inf") else 0

    def _batches(self, step: int) -> Iterator[_Drawn]:
        """Give the batch of every step from this one on; the next one is made in a thread while one is learnt."""
        with ThreadPoolExecutor(1) as thread:
            following = thread.submit(self._batch, step)
            while True:
                step += 1
                batch, following = following.result(), thread.submit(self._batch, step)
                yield batch

    def _batch(self, step: int) -> _Drawn:
        """Draw and make what a step is taken on, and the seed of what is random in the network.

        All random numbers follow from (seed, step).
        """
        recipe, batch = self.recipe, self.recipe.training.batch
        part = self.team.part(batch)
        rng = np.random.default_rng((self.seed, step))
        chosen = self._drawn_places(rng)[part]
        if self.corruptor:
            seeds = rng.integers(2**63 - 1, size=batch)[part]
            items, drawn_items = self.corruptor(self.slices, chosen, seeds, step=step, device=self.device)
            return _Drawn(Batch(items.healthy, seeds, items), drawn_items, int(rng.integers(2**63 - 1)))
        x0 = self.slices.windows(chosen, recipe.reach, self.device)
        drawn = draw(recipe.augment, batch, (x0.shape[2], x0.shape[3]), rng)
        x0 = self.slices.seen(apply(x0, drawn.of(part)))
        labels = self.slices.labels_at(chosen, self.device)
        labels = None if labels is None else apply_to_labels(labels, drawn.of(part))
        seeds = rng.integers(2**63 - 1, size=batch)[part]
        sick = self.slices.sick_at(chosen, self.device)
        return _Drawn(Batch(x0, seeds, labels=labels, sick=sick), drawn, int(rng.integers(2**63 - 1)))

    def _drawn_places(self, rng: np.random.Generator) -> NDArray[Any]:
        """Draw the places of a batch's slices, as many of those with a lesion, or sick ones, as the recipe says."""
        batch, data, slices = self.recipe.training.batch, self.recipe.data, self.slices
        if isinstance(data, WeakDataConfig):
            share, others = data.sick, rng.choice(slices.healthy, batch)
        else:
            share, others = data.lesions, rng.integers(len(slices), size=batch)
        if not share or not len(slices.sick):
            return others
        return np.where(rng.random(batch) < share, rng.choice(slices.sick, batch), others)

    @cached_property
    def corruptor(self) -> Corruptor | None:
        """What is put into slices to be mended; none where nothing is."""
        config = self.recipe.corrupting
        return Corruptor(config, self.recipe.reach, self.masks, self.recipe.channels) if config else None

    def _step(self, state: State, batch: Batch, seed: int) -> float:
        """Take one step; returns the loss."""
        recipe = self.recipe
        for group in state.optimiser.param_groups:
            group["lr"] = learning_rate(recipe, state.step)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            loss = self.loss(state.net, batch, state.step)
            state.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        self.team.average([loss, *(p.grad for p in state.net.parameters() if p.grad is not None)])
        if recipe.optimiser.clip > 0:
            nn.utils.clip_grad_norm_(state.net.parameters(), recipe.optimiser.clip)
        state.optimiser.step()
        state.step += 1
        follow(state.average, state.net, min(recipe.optimiser.ema, (1 + state.step) / (10 + state.step)))
        return loss.item()

    def loss(self, net: nn.Module, batch: Batch, step: int) -> Tensor:
        """Return the loss of the recipe's objective, computed in this precision."""
        more = {"teacher": self.teacher} if self.teacher else {}
        batch = batch._replace(x0=packed(batch.x0))
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            loss: Tensor = kind(self.recipe.kind).loss(self.recipe, net, batch, step, **more)
        return loss

    def held_out(self, chosen: NDArray[Any], seeds: Seeds) -> Batch:
        """Make a batch of validation slices, as hard as they get, however many steps there are."""
        assert self.validation is not None
        if self.corruptor:
            step = self.corruptor.config.anomalies.fade
            items, _ = self.corruptor(self.validation, chosen, seeds, step=step, device=self.device)
            return Batch(items.healthy, seeds, items)
        windows = self.validation.windows(chosen, self.recipe.reach, self.device)
        labels, sick = (at(chosen, self.device) for at in (self.validation.labels_at, self.validation.sick_at))
        return Batch(self.validation.seen(windows), seeds, labels=labels, sick=sick)


class _Drawn(NamedTuple):
    batch: Batch
    drawn: Drawn | DrawnItems
    seed: int


def precision_for(name: str, device: torch.device, recipe: Recipe) -> torch.dtype:
    """Pick the type to compute in. On a CPU volumes are learnt in float32: in bf16 torch 2.13 makes gradients of them
    that are now and then no numbers. Raises UadError when that is asked for.
    """
    if not (recipe.solid and device.type == "cpu"):
        return pick_precision(name, device)
    if name == "bf16":
        raise UadError("--precision bf16: volumes are learnt in fp32 on a CPU (leave it out)")
    return torch.float32


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate of a step: rising at the start, falling at the end, level in between."""
    settings = recipe.optimiser
    rising = (step + 1) / (settings.warmup + 1)
    falling = (recipe.training.steps - step) / max(settings.decay, 1)
    return settings.learning_rate * min(1.0, rising, falling)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the average towards the weights: average = decay * average + (1 - decay) * weights.

    What a network counts by itself, such as the statistics of batch normalisation, is an average already, and copied.
    """
    for mean, weight in zip(average.parameters(), net.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay)
    for copied, buffer in zip(average.buffers(), net.buffers(), strict=True):
        copied.copy_(buffer)


def judged(trainer: Trainer) -> NDArray[np.intp]:
    """Return the places of the slices that are validated on, evenly spaced; of healthy and sick ones a half each."""
    slices, most = trainer.validation, trainer.recipe.training.validation_slices
    assert slices is not None
    if slices.kinds is None:
        return spread_out(slices, most)
    return np.concatenate([side[spread_out(side, max(most // 2, 1))] for side in (slices.healthy, slices.sick)])


@torch.no_grad()
def validate(trainer: Trainer, net: nn.Module) -> float:
    """Return the mean of the last step's loss on evenly spaced validation slices, each with a seed of its own."""
    settings, chosen = trainer.recipe.training, judged(trainer)
    count = len(chosen)
    total = 0.0
    for start in range(0, count, settings.batch):
        part = slice(start, start + settings.batch)
        batch = trainer.held_out(chosen[part], np.arange(count)[part])
        total += trainer.loss(net, batch, settings.steps).item() * len(batch.seeds)
    return total / count
