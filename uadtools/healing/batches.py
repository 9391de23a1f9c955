"""Asking the model: every slice, for every t and draw, in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uadtools import methods
from uadtools.grids.slices import from_network, to_network
from uadtools.healing.plan import Plan, Watch
from uadtools.models.exported import ExportedModel

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.models.model import Model

Floats = NDArray[np.float32]
HELD, ROOM = 16, 2**29
"""See fitting(); bytes."""


@dataclass(frozen=True)
class ScanSlices:
    """What is to be healed of one scan. x: (S, C, H, W) in [0, 1], one above the other; positions: (S,) their z.

    C: of how many contrasts they are.
    condition: other slices to condition them on, shaped like x. Of a volume that is healed whole x is (1, 1, D, H, W).
    """

    x: Floats
    positions: NDArray[np.intp]
    condition: Floats | None = None


@dataclass(frozen=True)
class HealedSlices:
    """x: (T, K, S, C, H, W) in [0, 1], for T options and K draws; maps: (S, 1, H, W), means over all of them.

    x is the first of the maps where the method heals nothing. Of a volume that is healed whole: (T, K, 1, 1, D, H, W)
    and (1, 1, D, H, W).
    """

    x: Floats
    maps: dict[str, Floats]

    def of(self, part: slice) -> HealedSlices:
        """Return those of some of the slices."""
        return HealedSlices(self.x[:, :, part], {name: values[part] for name, values in self.maps.items()})

    def add(self, part: slice, maps: Mapping[str, Floats], weight: float) -> None:
        for name, values in maps.items():
            size = (self.x.shape[2], *values.shape[1:])
            whole = self.maps.setdefault(name, np.zeros(size, dtype=np.float32))
            whole[part] += weight * values


def heal_slices(
    model: Model | ExportedModel, scans: Sequence[ScanSlices], plan: Plan, *, seed: int, batch: int, watch: Watch
) -> list[HealedSlices]:
    """Heal every slice of the scans with all of the plan's options, in every draw; scans share batches."""
    seen = Seen.of(model, scans)
    shape, count = seen.x.shape[2:], len(seen.x)
    total, done = plan.evaluations((shape[-2], shape[-1])) * count, 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        watch(done, total)

    made_of = seen.x.shape if plan.heals else (count, 1, *shape)
    healed = HealedSlices(np.empty((len(plan.options), plan.samples, *made_of), np.float32), {})
    for i, options in enumerate(plan.options):
        for k in range(plan.samples):
            for part in _parts(count, batch or fitting(model, shape)):
                if isinstance(model, ExportedModel):
                    made = model.graph(seen.slices(part), getattr(options, "t", None))
                    tick(int(options.evaluations((shape[-2], shape[-1]))) * len(made[plan.product]))
                else:
                    key = (getattr(options, "t", 0), k, *plan.noise_key(options))
                    keys = [(seed, int(z), *key) for z in seen.positions[part]]
                    made = _by_torch(replace(model, asked=tick), plan, options, seen.tensors(part), keys)
                product = made.pop("healed") if plan.heals else made[plan.product]
                healed.x[i, k, part] = from_network(product) if plan.heals else product
                healed.add(part, made, 1 / (len(plan.options) * plan.samples))
    ends = np.cumsum([len(scan.x) for scan in scans])
    return [healed.of(slice(end - len(scan.x), end)) for scan, end in zip(scans, ends, strict=True)]


def _by_torch(
    model: Model, plan: Plan, options: Any, seen: tuple[Tensor, dict[str, Tensor]], keys: Sequence[tuple[int, ...]]
) -> dict[str, Floats]:
    """Return what a method makes of slices, by role. seen: they, and its other arguments; keys: of each one's noise."""
    import torch

    x, given = seen
    with torch.inference_mode():
        made = methods.get(plan.method).heal(model, x, options, model.noise(x.shape[2:], keys), **given)
    by_role = made.maps if made.healed is None else {"healed": made.healed, **made.maps}
    return {role: values.cpu().numpy() for role, values in by_role.items()}


def _parts(count: int, batch: int) -> Iterator[slice]:
    """Share slices out to batches as even as can be, so that no small one comes last."""
    ends = np.linspace(0, count, math.ceil(count / batch) + 1).astype(int)
    return (slice(start, end) for start, end in pairwise(ends))


def fitting(model: Model | ExportedModel, shape: Sequence[int]) -> int:
    """Return how many slices of a shape (H, W) to ask about at a time: 64 on a GPU and 16 elsewhere, if they fit; 4 of
    onnxruntime, which more make no faster.

    What a U-Net holds at once is about HELD maps of its first level; it may take half of what a GPU has free, and
    ROOM on a CPU, where larger batches are not faster.
    """
    gpu = str(model.device).startswith("cuda")
    most = 64 if gpu else 4 if isinstance(model, ExportedModel) else 16
    bytes_of_slice = HELD * model.config.held(shape) * model.precision.itemsize
    if not bytes_of_slice:
        return most
    free = _free(str(model.device)) if gpu else ROOM
    return int(min(max(free // bytes_of_slice, 1), most))


def _free(device: str) -> int:
    """Return half of what a GPU has free, in bytes."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0] // 2)


@dataclass(frozen=True)
class Seen:
    """What the model sees of all scans. x, positions, condition: theirs, one after the other; first, last: (S,) the
    first and last place of the scan that each slice is in.
    """

    model: Model | ExportedModel
    x: Floats
    positions: NDArray[np.intp]
    condition: Floats | None
    first: NDArray[np.intp]
    last: NDArray[np.intp]

    @classmethod
    def of(cls, model: Model | ExportedModel, scans: Sequence[ScanSlices]) -> Seen:
        sizes = [len(scan.x) for scan in scans]
        ends = np.cumsum(sizes)
        conditions = [scan.condition for scan in scans if scan.condition is not None]
        return cls(
            model,
            np.concatenate([scan.x for scan in scans]),
            np.concatenate([scan.positions for scan in scans]),
            np.concatenate(conditions) if conditions else None,
            np.repeat(ends - sizes, sizes),
            np.repeat(ends - 1, sizes),
        )

    def slices(self, part: slice | NDArray[np.intp]) -> Floats:
        """Return slices in [-1, 1] with as many neighbours as the model needs, (B, C (2 reach + 1), H, W), each
        contrast's in a row; the ends are repeated.
        """
        chosen, reach = np.arange(len(self.x))[part][:, None], self.model.config.reach
        places = np.clip(chosen + np.arange(-reach, reach + 1), self.first[part][:, None], self.last[part][:, None])
        slabs = self.x[places].swapaxes(1, 2)  # (B, C, 2 reach + 1, H, W); of volumes H is their depth
        return to_network(slabs.reshape(len(slabs), -1, *slabs.shape[3:]))

    def tensors(self, part: slice | NDArray[np.intp]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return slices as the model gets them, and the method's other arguments."""
        import torch

        images = [self.slices(part), *([] if self.condition is None else [to_network(self.condition[part])])]
        x, *condition = (torch.from_numpy(slices).to(self.model.device) for slices in images)
        return x, dict(zip(("condition",), condition, strict=False))
