"""Asking the model: every slice, for every t and draw, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadtools import methods
from uadtools.healing.plan import Plan, Watch
from uadtools.models.model import Model
from uadtools.volume.slices import from_network, to_network

Floats = NDArray[np.float32]
HELD, ROOM = 16, 2**29
"""See fitting(); bytes."""


@dataclass(frozen=True)
class Stack:
    """What is to be healed of one scan. x: (S, 1, H, W) in [0, 1], one above the other; positions: (S,) their z.

    condition: other slices to condition them on, shaped like x. Of a volume that is healed whole x is (1, 1, D, H, W).
    """

    x: Floats
    positions: NDArray[np.intp]
    condition: Floats | None = None


@dataclass(frozen=True)
class Draws:
    """healed: (T, K, S, 1, H, W) in [0, 1], for T options and K draws; maps: (S, 1, H, W), means over all of them.

    Of a volume that is healed whole: (T, K, 1, 1, D, H, W) and (1, 1, D, H, W).
    """

    healed: Floats
    maps: dict[str, Floats]

    def of(self, part: slice) -> Draws:
        """Return those of some of the slices."""
        return Draws(self.healed[:, :, part], {name: values[part] for name, values in self.maps.items()})

    def add(self, part: slice, maps: dict[str, Tensor], weight: float) -> None:
        for name, values in maps.items():
            whole = self.maps.setdefault(name, np.zeros(self.healed.shape[2:], dtype=np.float32))
            whole[part] += weight * values.cpu().numpy()


def draw(model: Model, stacks: Sequence[Stack], how: Plan, *, seed: int, batch: int, watch: Watch) -> list[Draws]:
    """Heal every slice of the stacks with all of the plan's options, in every draw; stacks share batches."""
    seen = _Seen.of(model, stacks)
    shape, count = seen.x.shape[2:], len(seen.x)
    total, done = how.evaluations((shape[-2], shape[-1])) * count, 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        watch(done, total)

    asked = replace(model, asked=tick)
    made = Draws(np.empty((len(how.options), how.samples, *seen.x.shape), dtype=np.float32), {})
    for i, options in enumerate(how.options):
        for k in range(how.samples):
            for part in _parts(count, batch or fitting(model, shape)):
                own = (getattr(options, "t", 0), k, *how.key(options))
                noise = model.noise(shape, [(seed, int(z), *own) for z in seen.positions[part]])
                with torch.inference_mode():
                    found = methods.get(how.method).heal(asked, seen.slices(part), options, noise, **seen.given(part))
                made.healed[i, k, part] = from_network(found.healed.cpu().numpy())
                made.add(part, found.maps, 1 / (len(how.options) * how.samples))
    ends = np.cumsum([len(stack.x) for stack in stacks])
    return [made.of(slice(end - len(stack.x), end)) for stack, end in zip(stacks, ends, strict=True)]


def _parts(count: int, batch: int) -> Iterator[slice]:
    """Share slices out to batches as even as can be, so that no small one comes last."""
    ends = np.linspace(0, count, math.ceil(count / batch) + 1).astype(int)
    return (slice(start, end) for start, end in pairwise(ends))


def fitting(model: Model, shape: Sequence[int]) -> int:
    """Return how many slices of a shape (H, W) to ask about at a time: 64 on a GPU and 16 elsewhere, if they fit.

    What a U-Net holds at once is about HELD maps of its first level; it may take half of what a GPU has free, and
    ROOM on a CPU, where larger batches are not faster.
    """
    gpu = model.device.type == "cuda"
    most = 64 if gpu else 16
    held = HELD * model.config.held(shape) * model.precision.itemsize
    if not held:
        return most
    free = torch.cuda.mem_get_info(model.device)[0] // 2 if gpu else ROOM
    return int(min(max(free // held, 1), most))


@dataclass(frozen=True)
class _Seen:
    """What the model sees of all stacks. x, positions, condition: theirs, one after the other; first, last: (S,) the
    first and last place of the stack that each slice is in.
    """

    model: Model
    x: Floats
    positions: NDArray[np.intp]
    condition: Floats | None
    first: NDArray[np.intp]
    last: NDArray[np.intp]

    @classmethod
    def of(cls, model: Model, stacks: Sequence[Stack]) -> _Seen:
        sizes = [len(stack.x) for stack in stacks]
        ends = np.cumsum(sizes)
        conditions = [stack.condition for stack in stacks if stack.condition is not None]
        return cls(
            model,
            np.concatenate([stack.x for stack in stacks]),
            np.concatenate([stack.positions for stack in stacks]),
            np.concatenate(conditions) if conditions else None,
            np.repeat(ends - sizes, sizes),
            np.repeat(ends - 1, sizes),
        )

    def slices(self, part: slice) -> Tensor:
        """Return slices with as many neighbours as the model needs, (B, 2 reach + 1, H, W); the ends are repeated."""
        chosen, reach = np.arange(len(self.x))[part, None], self.model.config.reach
        places = np.clip(chosen + np.arange(-reach, reach + 1), self.first[part, None], self.last[part, None])
        return self._seen(self.x[places, 0])

    def given(self, part: slice) -> dict[str, Tensor]:
        """Return the method's other arguments."""
        return {} if self.condition is None else {"condition": self._seen(self.condition[part])}

    def _seen(self, slices: Floats) -> Tensor:
        return torch.from_numpy(to_network(slices)).to(self.model.device)
