"""A loaded model: a network that answers x0 and eps, whatever it was trained to predict, or that reconstructs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadtools.diffusion.process import Prediction, Steps, both
from uadtools.diffusion.schedule import Schedule
from uadtools.errors import UadError
from uadtools.models.checkpoint import REFERENCE, file_hash, located, read_config, read_tensors
from uadtools.models.config import ModelConfig, Settings
from uadtools.models.networks import CodebookConfig, UNetConfig
from uadtools.nets.dense import VAE, Autoencoder, FAnoGAN, SequenceVAE
from uadtools.nets.latent import LatentDiffusion
from uadtools.nets.layout import layout, packed
from uadtools.nets.masked import MaskedAutoencoder
from uadtools.nets.resnet import Conditioned, ResNet
from uadtools.nets.restored import Restored, restored
from uadtools.nets.unet import UNet
from uadtools.nets.vqvae import VQVAE

_DENSE = {"ae": Autoencoder, "vae": VAE, "svae": SequenceVAE, "fanogan": FAnoGAN}


def build(settings: Settings) -> nn.Module:
    """Make the network that a model or a recipe describes, with fresh weights."""
    outside = {"kind", "reach"} if isinstance(settings.network, UNetConfig) else {"kind"}
    sizes = settings.network.model_dump(exclude=outside)
    if settings.kind == "ldm":
        return _latent(settings, sizes)
    if settings.kind == "cddpm":
        unet = UNet(**sizes, condition=settings.encoder.dimension, condition_mlp=settings.encoder.mlp)
        return Conditioned(unet, encoder_of(settings))
    if settings.kind == "spark":
        return MaskedAutoencoder(encoder_of(settings), **sizes)
    if isinstance(settings.network, UNetConfig):
        restores = settings.kind == "restoration"
        return UNet(**sizes, in_channels=2 * settings.reach + 1, out_channels=2 if restores else 1)
    if settings.kind == "vqvae":
        return VQVAE(**sizes)
    columns, rows, _ = settings.grid.shape
    net: nn.Module = _DENSE[settings.kind]((rows, columns), **sizes)
    return net


def _latent(settings: Settings, sizes: dict[str, Any]) -> LatentDiffusion:
    autoencoder = settings.autoencoder
    sizes_of_images = settings.grid.shape[::-1] if settings.solid else settings.grid.shape[1::-1]
    shape = [size // autoencoder.divisor for size in sizes_of_images]
    unet = UNet(**sizes, in_channels=autoencoder.dimension, out_channels=autoencoder.dimension)
    return LatentDiffusion(codebook_of(autoencoder), unet, shape)


def codebook_of(sizes: CodebookConfig) -> VQVAE:
    """Make the autoencoder that a model or a recipe describes, with fresh weights."""
    return VQVAE(**sizes.model_dump(include={"widths", "residuals", "codes", "dimension", "axes"}))


def encoder_of(settings: Settings) -> ResNet:
    """Make the image encoder that a model or a recipe describes, with fresh weights."""
    sizes = settings.encoder
    return ResNet(base=sizes.base, blocks=sizes.blocks, dimension=sizes.dimension)


@dataclass(frozen=True)
class Model:
    """What samplers ask. precision: the type in which the network computes; in and out are float32.

    name: what the model is called in provenance, its own name and the hash of its file. expected: how far healthy scans
    are from their healed selves, on every second voxel of the grid, by contrast, and "" for any other; empty where the
    model does not know.
    """

    config: ModelConfig
    net: nn.Module
    schedule: Schedule
    device: torch.device
    precision: torch.dtype = torch.float32
    name: str = ""
    expected: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @torch.inference_mode()
    def predict(self, x_t: Tensor, t: Steps, *, clamp: bool = False, code: Tensor | None = None) -> Prediction:
        """Return x0 and eps behind x_t.

        x_t: (B, 1, H, W) in the units of [-1, 1]; t: one step for all, or (B,) int64; clamp: limit x0 to [-1, 1]; code:
        what encode() made of the image that the model is to go by, which models of kind cddpm need and others do not
        know.
        """
        steps = torch.as_tensor(t, dtype=torch.int64, device=x_t.device).expand(len(x_t))
        known = () if code is None else (code,)
        return both(self._ask(x_t, steps, *known), self.config.target, x_t, t, self.schedule, clamp=clamp)

    @torch.inference_mode()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Return what a model of another kind than diffusion makes of slices, (B, 1, H, W).

        x: (B, C, H, W) in [-1, 1]; C is 1, or 2 reach + 1 with the slice to reconstruct in the middle.
        """
        return self._ask(x)

    @torch.inference_mode()
    def restore(self, x: Tensor, t: int) -> Restored:
        """Return the healthy middle slices, and where they were changed; kind restoration only.

        x: (B, 2 reach + 1, H, W) in [-1, 1]; t: the highest severity to be expected, of 1000.
        """
        return restored(x, self._ask(x, torch.full((len(x),), t, device=x.device)))

    @torch.inference_mode()
    def encode(self, x: Tensor) -> Tensor:
        """Return the encoder's code of clean slices, (B, D). x: (B, 1, H, W) in [-1, 1]; kind cddpm only."""
        assert isinstance(self.net, Conditioned)
        return self._of(self.net.encoder, x)

    @property
    def limits(self) -> Tensor:
        """How much of the bound is still healthy, (h, w) or (d, h, w); kind ldm only."""
        assert isinstance(self.net, LatentDiffusion)
        return self.net.limits

    @torch.inference_mode()
    def to_latent(self, x: Tensor) -> Tensor:
        """Return the scaled latents of slices, (B, D, h, w), or volumes. x: (B, 1, H, W) in [-1, 1]; kind ldm only."""
        assert isinstance(self.net, LatentDiffusion)
        return self.net.encode(x)

    @torch.inference_mode()
    def from_latent(self, z: Tensor) -> Tensor:
        """Return the slices or volumes of scaled latents, (B, 1, H, W); kind ldm only."""
        assert isinstance(self.net, LatentDiffusion)
        return self.net.decode(z)

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the noise for a slice (H, W): (1, H, W), or that of its latent where these are noised."""
        if self.config.kind != "ldm":
            return 1, *shape
        return self.config.autoencoder.dimension, *self.limits.shape

    def _ask(self, x: Tensor, *more: Tensor) -> Tensor:
        return self._of(getattr(self.net, "unet", self.net), x, *more)

    def _of(self, net: nn.Module, x: Tensor, *more: Tensor) -> Tensor:
        """Ask a network; a U-Net that was halved computes so by itself, others cast as they go."""
        cast = self.precision != torch.float32 and not isinstance(net, UNet)
        with torch.autocast(self.device.type, self.precision, enabled=cast):
            output: Tensor = net(packed(x), *more)
        return output.float()


def load_model(path: Path | str | None = None, *, device: str = "auto", precision: str = "auto") -> Model:
    """Load a model file for healing (or a bundled one's name; default: the bundled one).

    Raises UadError when it is no model file, or its weights do not fit its settings.
    """
    path = located(Path(path) if path else None)
    config = read_config(path)
    with torch.device("meta"):  # fresh weights would take time and memory
        net = build(config)
    tensors = {name: tensor.float() for name, tensor in read_tensors(path).items()}
    expected = {name: tensors.pop(name).numpy() for name in list(tensors) if name.startswith(REFERENCE)}
    try:
        net.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        problem = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
        raise UadError(f"{path}: its weights do not fit its settings ({problem})") from None
    where = pick_device(device)
    net = net.to(where).eval().requires_grad_(False)
    dtype = pick_precision(precision, where)
    for unet in [part for part in net.modules() if isinstance(part, UNet)]:
        if where.type == "cpu":
            unet.fold()
        if dtype != torch.float32:
            unet.halve(dtype)
    net = net.to(memory_format=layout(3 if config.solid else 2))  # type: ignore[call-overload]
    by_contrast = {name.removeprefix(REFERENCE).removeprefix("."): known for name, known in expected.items()}
    return Model(config, net, schedule_of(config), where, dtype, f"{config.name}:{file_hash(path)}", by_contrast)


def schedule_of(config: ModelConfig) -> Schedule:
    return Schedule.of(config.schedule.kind, config.schedule.steps)


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
