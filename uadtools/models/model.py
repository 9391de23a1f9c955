"""A loaded model: a network that answers x0 and eps, whatever it was trained to predict, or that reconstructs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadtools.diffusion.process import Prediction, Timesteps, both
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.models.checkpoint import REFERENCE, by_contrast, file_hash, located, read_config, read_tensors
from uadtools.models.config import Settings
from uadtools.models.kinds import kind
from uadtools.nets.layout import layout, packed
from uadtools.nets.perceptual import Perceptual
from uadtools.nets.unet import UNet
from uadtools.noise.source import SliceNoise

PERCEIVED = 50
"""The step, of 1000, that a network is told with the images whose features are compared."""


def build(settings: Settings, where: str = "") -> nn.Module:
    """Make the network that a model or a recipe describes, with fresh weights. where: its file, for errors.

    Raises UadError where it is too large for any memory.
    """
    try:
        net: nn.Module = kind(settings.kind).build(settings)
    except RuntimeError:  # a size that no memory, or no number, holds
        raise UadError(
            f"{where or settings.name}: there is no memory for a network as large as its settings say"
        ) from None
    return net


@dataclass(frozen=True)
class Model:
    """What samplers ask. precision: the type in which the network computes; in and out are float32.

    config: the ModelConfig of its kind; net: the network, built by the kind's file. name: what the model is called in
    provenance, its own name and the hash of its file. expected: how far healthy scans are from their healed selves, on
    every second voxel of the grid, by contrast, and "" for any other; empty where the model does not know. asked: told
    how many slices the network was asked about, each time. features: what images are compared by in place of the
    network, see models.features.
    """

    ENGINE: ClassVar[str] = "torch"

    config: Any
    net: Any
    device: torch.device
    precision: torch.dtype = torch.float32
    name: str = ""
    expected: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    asked: Callable[[int], None] = lambda count: None
    features: nn.Module | None = None

    @cached_property
    def schedule(self) -> Schedule:
        """Of models that remove noise."""
        return Schedule.of(self.config.schedule.kind, self.config.schedule.steps)

    @property
    def channels(self) -> int:
        """Of how many contrasts the images are that it sees."""
        return int(self.config.channels)

    def ask(self, x: Tensor, *more: Any, of: nn.Module | None = None) -> Tensor:
        """Return what the network makes of a batch, in float32.

        x: as the network sees it, (B, C, H, W) in [-1, 1], or (B, C, D, H, W); more: what else it is told, such as t;
        of: a part of it to be asked in its place.
        """
        net = of or getattr(self.net, "unet", self.net)
        itself = any(isinstance(part, UNet) for part in net.modules())  # a halved U-Net casts by itself
        cast = self.precision != torch.float32 and not itself
        with torch.autocast(self.device.type, self.precision, enabled=cast):
            output: Tensor = net(packed(x), *more)
        if of is None:
            self.asked(x.shape[0])
        return output.float()

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False, code: Tensor | None = None) -> Prediction:
        """Return x0 and eps behind x_t, and the variance of the step back where the network learnt that.

        x_t: (B, C, H, W) in the units of [-1, 1]; t: one step for all, or (B,) int64; clamp: limit x0 to [-1, 1]; code:
        of the image that the model is to go by, where it is one that needs it.
        """
        steps = torch.as_tensor(t, dtype=torch.int64, device=x_t.device).expand(x_t.shape[0])
        codes = () if code is None else (code,)
        output, channels = self.ask(x_t, steps, *codes), x_t.shape[1]
        guess = both(output[:, :channels], self.config.target, x_t, t, self.schedule, clamp=clamp)
        return guess._replace(share=(output[:, channels:] + 1) / 2) if output.shape[1] > channels else guess

    def perceive(self, x: Tensor, other: Tensor) -> Tensor:
        """Return how unlike two clean images are in the features of a network that removes noise, (B, 1, H, W).

        x, other: (B, C, H, W) in [-1, 1]. From 0 for the same to 4; no image is noised, see nets.perceptual. With
        `features`, what these say: nets.lpips.
        """
        if self.features is not None:
            return self.ask(x, other, of=self.features)
        return self.ask(x, other, self._perceived_at(x), of=Perceptual(self.net))

    def describe(self, x: Tensor) -> Tensor:
        """Return the mean over places of the network's coarsest features of clean images, (B, D), as `perceive` sees.

        x: (B, C, H, W) in [-1, 1].
        """
        return Perceptual(self.net).describe(packed(x), self._perceived_at(x))

    def _perceived_at(self, x: Tensor) -> Tensor:
        return x.new_full((len(x),), PERCEIVED * self.schedule.steps // 1000, dtype=torch.int64)

    def noise(self, shape: Sequence[int], keys: Sequence[tuple[int, ...]]) -> Callable[[], Tensor]:
        """Return the noise for slices (H, W), a call for each draw; what a slice gets depends on its key alone.

        A model that draws none has nothing to return when it is called.
        """
        if not self.config.DRAWS:
            return lambda: torch.empty(len(keys), 0, device=self.device)
        return SliceNoise(self.config.noise, self.config.noise_shape(shape), keys, self.device)


def load_model(
    path: Path | str | None = None, *, device: str = "auto", precision: str = "auto", fold: bool = True
) -> Model:
    """Load a model file for healing (or a bundled one's name; default: the bundled one).

    fold: let the network sum up weights on a CPU, where that is faster; else they stay as the file has them.

    Raises UadError when it is no model file, or its weights do not fit its settings or are not finite.
    """
    path = located(Path(path) if path else None)
    config = read_config(path)
    with torch.device("meta"):  # fresh weights would take time and memory
        net = build(config, str(path))
    tensors = {name: tensor.float() for name, tensor in read_tensors(path).items()}
    expected = by_contrast({name: tensors.pop(name).numpy() for name in list(tensors) if name.startswith(REFERENCE)})
    try:
        net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        problem = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
        raise UadError(f"{path}: its weights do not fit its settings ({problem})") from None
    if bad := [name for name, value in net.named_parameters() if not value.isfinite().all()]:
        raise UadError(f"{path}: {bad[0]} holds NaN or infinity")
    where = pick_device(device)
    net = net.to(where).eval().requires_grad_(False)
    dtype = pick_precision(precision, where)
    for unet in [part for part in net.modules() if isinstance(part, UNet)]:
        if fold and where.type == "cpu":
            unet.fold()
        if dtype != torch.float32:
            unet.halve(dtype)
    net = net.to(memory_format=layout(3 if config.solid else 2))  # type: ignore[call-overload]
    return Model(config, net, where, dtype, f"{config.name}:{file_hash(path)}", expected)


def pick_device(name: str) -> torch.device:
    """Pick a device; auto takes CUDA, then Apple's MPS, then the CPU. Raises UadError when the device is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError):
        raise UadError(f"--device {name}: not available here (auto picks one that is)") from None
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Pick a type; auto takes bf16 where the hardware multiplies in it, float32 elsewhere."""
    if name == "auto":
        cuda = device.type == "cuda" and torch.cuda.is_bf16_supported()
        name = "bf16" if cuda or (device.type == "cpu" and _cpu_has_bf16()) else "fp32"
    return torch.bfloat16 if name == "bf16" else torch.float32


def _cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())
