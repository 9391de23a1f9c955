"""Segmentation by diffusion: masks of lesions are drawn from noise, given the scan, and several draws are as unsure as
the network is.

Source: Bercea et al. 2024 (survey), 5.1. The scan lies beside the noisy mask as more channels (Saharia et al. 2022,
Palette; Amit et al. 2021, SegDiff), and the mean of draws is the map (Wolleb et al. 2022); masks are noised with
Gaussian noise, or their bits flipped (Chen et al. 2023, BerDiff), or they are shifted and turned (Zaman et al. 2023,
Surf-CDM, whose surfaces are no masks and always somewhere).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.interface.healing import Drawing
from uadtools.labelled._lesions import marked
from uadtools.models.networks import UNetConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from uadtools.diffusion.process import Prediction, Timesteps
    from uadtools.diffusion.samplers import Step
    from uadtools.diffusion.schedule import Schedule
    from uadtools.interface.healing import Healing
    from uadtools.interface.types import Batch, Model, Noise, Tensor, nn

Kernel = Literal["gaussian", "bernoulli", "cold"]
TOLD = {"bernoulli": ("eps", "what was flipped"), "cold": ("x0", "the mask")}
"""What the network tells with kernels that leave no choice, and what that is."""


class Settings(NoisedSettings):
    """network: sees the slab and the noisy mask of its middle; kernel: how masks are noised.

    gaussian: with `noise`, as `target` says; bernoulli: by flipped bits, of which Gaussian noise says which they are,
    and the network tells these; cold: by a shift and a turn, of which it says how large they are, and the network tells
    the mask.
    """

    FOLLOWS: ClassVar[dict[str, dict[str, Any]]] = {"noise": {"kind": "gaussian"}}
    NEIGHBOURS: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["segment"] = "segment"
    network: UNetConfig = UNetConfig()
    kernel: Kernel = "gaussian"

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return 1, *shape

    @model_validator(mode="after")
    def _of_its_kernel(self) -> Self:
        if self.defaults.t:
            raise ValueError(f"defaults.t {list(self.defaults.t)}: masks are drawn from noise alone (leave it out)")
        target, what = TOLD.get(self.kernel, (self.target, ""))
        if self.kernel in TOLD and self.noise.kind != "gaussian":
            raise ValueError(f"noise.kind {self.noise.kind}: kernel {self.kernel} draws from gaussian")
        if self.target != target:
            raise ValueError(f"target {self.target}: with kernel {self.kernel} the network tells {what} ({target})")
        return self


class Recipe(base.NoisedRecipe, Settings):
    """Nothing beyond what is common to models of noise."""

    LABELLED: ClassVar[bool] = True

    @model_validator(mode="after")
    def _by_cross_entropy(self) -> Self:
        if self.kernel == "bernoulli" and self.training.loss != "l2":
            raise ValueError(f"training.loss {self.training.loss}: flips are told by cross-entropy (leave it out)")
        return self


@dataclass(frozen=True)
class Options(Drawing):
    """steps: of the walk, from noise alone to the mask; top: where that begins, the last step of the schedule."""


def settle(config: Settings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Begin where the model's schedule ends. Raises UadError for an option that its kernel does not have."""
    if given.get("eta") and config.kernel != "gaussian":
        raise UadError(f"--eta {given['eta']:g}: has no effect with a model of kernel {config.kernel} (leave it out)")
    return [{**given, "top": config.levels - 1}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Draw a mask for each slice, from noise alone; nothing is healed. x: (B, C (2 reach + 1), H, W) in [-1, 1].

    The map is the mask as the last step believes it, from 0 to 1. With kernel cold the walk begins at an empty mask, as
    each mask has left the image there; a draw is a way by which it comes in.
    """
    from uadtools.diffusion.samplers import ddim
    from uadtools.diffusion.steps import spaced

    timesteps, beside = spaced(options.top, options.steps), Beside(model, x)
    if model.config.kernel == "bernoulli":
        return marked(last(_unflipped(beside, timesteps, noise)))
    if model.config.kernel == "cold":
        return marked(last(_moved_back(beside, timesteps, noise())))
    return marked((last(ddim(beside, noise(), timesteps, noise, eta=options.eta, clamp=True)) + 1) / 2)


def last(walk: Iterable[Step]) -> Tensor:
    """Walk to the last step and return what that believes in."""
    return deque(walk, maxlen=1)[0].x0_pred


def _unflipped(beside: Beside, timesteps: Sequence[int], noise: Noise) -> Iterator[Step]:
    from uadtools.diffusion.bits import unflip

    def flips(z_t: Tensor, t: int) -> Tensor:
        return beside.ask(2 * z_t - 1, t).sigmoid()

    return unflip(flips, (noise() > 0).to(beside.seen), timesteps, beside.schedule, noise)


def _moved_back(beside: Beside, timesteps: Sequence[int], eps: Tensor) -> Iterator[Step]:
    from uadtools.diffusion.motion import moved
    from uadtools.diffusion.samplers import cold

    def told(mask: Tensor, t: int) -> Tensor:
        return (beside.ask(2 * mask.clamp(0, 1) - 1, t).clamp(-1, 1) + 1) / 2

    return cold(told, 0 * eps, timesteps, lambda mask, t: moved(mask, t, eps, beside.schedule))


@dataclass(frozen=True)
class Beside:
    """A model that sees the scan beside what it is asked about, as samplers ask. seen: (B, C (2 reach + 1), H, W)."""

    model: Model
    seen: Tensor

    @property
    def schedule(self) -> Schedule:
        return self.model.schedule

    def ask(self, x_t: Tensor, t: Timesteps) -> Tensor:
        """Return what the network says of x_t, by itself."""
        import torch

        at = torch.as_tensor(t, dtype=torch.int64, device=x_t.device).expand(len(x_t))
        return self.model.ask(torch.cat([self.seen, x_t], dim=1), at)

    def predict(self, x_t: Tensor, t: Timesteps, *, clamp: bool = False) -> Prediction:
        from uadtools.diffusion.process import both

        return both(self.ask(x_t, t), self.model.config.target, x_t, t, self.schedule, clamp=clamp)


def probe(model: Model, x: Tensor) -> Tensor:
    """Return what the network makes of slices and of half a lesion everywhere, at t = 0.

    x: (B, C (2 reach + 1), H, W) in [-1, 1].
    """
    return Beside(model, x).predict(0 * x[:, :1], 0).x0


def build(settings: Settings) -> nn.Module:
    from uadtools.interface.learning import unet

    return unet(settings.network, in_channels=settings.seen + 1)


def loss(recipe: Recipe, net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Noise or move the mask of each slice to a t of its own, and tell mask or noise; of bits, which were flipped.

    Source: Amit et al. 2021, section 3; Chen et al. 2023, whose divergence of the bits' steps is left out beside the
    cross-entropy. What is IGNORED counts neither way, and is no lesion where it is seen.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from uadtools.diffusion.bits import flip
    from uadtools.diffusion.motion import moved
    from uadtools.interface.learning import drawn, measure, noised
    from uadtools.nets.layout import packed
    from uadtools.volume.labels import IGNORED, LESION

    assert batch.labels is not None
    lesion, counted = (batch.labels == LESION).to(batch.x0), batch.labels != IGNORED

    def told(mask: Tensor, t: Tensor) -> Tensor:
        output: Tensor = net(packed(torch.cat([batch.x0, mask], dim=1)), t)
        return output.float()

    if recipe.kernel == "bernoulli":
        t, eps, schedule = drawn(recipe, lesion, batch.seeds)
        z_t = flip(lesion, t, eps, schedule)
        apart = binary_cross_entropy_with_logits(told(2 * z_t - 1, t), (z_t - lesion).abs(), reduction="none")
    elif recipe.kernel == "cold":
        t, eps, schedule = drawn(recipe, lesion, batch.seeds)
        seen = 2 * moved(lesion, t, eps, schedule) - 1
        apart = measure(recipe)(told(seen, t), 2 * lesion - 1, reduction="none")
    else:
        noisy = noised(recipe, 2 * lesion - 1, batch.seeds)
        apart = measure(recipe)(told(noisy.x_t, noisy.t), noisy.target, reduction="none")
    return (apart * counted).sum() / counted.sum().clamp(min=1)
