"""Several processes that train one model together: each takes its part of every batch, and all take the same step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from uadtools.errors import UadError


@dataclass(frozen=True)
class Team:
    """rank: of this process, 0 for the one that writes files; size: of the team, 1 where there is but one process."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """Return this process's part of a batch. Raises UadError when it cannot be shared out evenly."""
        if batch % self.size:
            raise UadError(f"training.batch {batch}: is no multiple of {self.size}, the number of processes (--batch)")
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the team, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten().float() for tensor in tensors])
        dist.all_reduce(flat)
        means = torch.split(flat / self.size, [tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is up in any of the processes."""
        if self.size == 1:
            return flag
        count = torch.tensor(float(flag), device=_device())
        dist.all_reduce(count)
        return bool(count > 0)


ALONE = Team()


@contextmanager
def joined(device: str) -> Iterator[tuple[Team, str]]:
    """Join the processes that torchrun started, if it did; gives the team, and the device of this process.

    With CUDA each process of a machine takes the GPU of its local rank, and they talk through NCCL, else through gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE, device
        return
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    device = f"cuda:{os.environ['LOCAL_RANK']}" if cuda else device
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Team(dist.get_rank(), size), device
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
