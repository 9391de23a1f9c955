"""Latent diffusion: find the region that is unlikely, heal that region. Source: Pinaya et al. 2022, section 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.interface.healing import Grow, Healing, Option, end
from uadtools.latents import vqvae
from uadtools.latents._region import grown, healthy_percentile
from uadtools.models.images import GridConfig, IntensityConfig
from uadtools.models.networks import CodebookConfig, RegionConfig, UNetConfig
from uadtools.models.settings import NoisedSettings

if TYPE_CHECKING:
    from uadtools.interface.types import Batch, Donor, Healthy, Model, Noise, Tensor
    from uadtools.nets.latent import LatentDiffusion

PREPARATION: dict[str, Any] = {
    "grid": GridConfig(shape=(64, 64, 1), spacing=(1.0, 1.0, 1.0)),
    "intensity": IntensityConfig(kind="none"),
    "brain": "none",
}
"""The HeadCT images, 64x64, as they are; the text says nothing of how its MRI scans were prepared. Source: 4.1."""
Variant = Literal["a", "b", "c", "d"]
BOUNDS, FEW_BOUNDS, FEW_STEPS = 200, 50, 30
"""Steps of the bound, fewer of them for variant d, as in the paper; its steps of DDIM, of which the paper takes 50."""
SAMPLE = 512
"""Slices by which the deviation of latents is measured."""


class Settings(NoisedSettings):
    """autoencoder: makes latents of slices, or whole volumes (of one contrast); network: removes noise from these."""

    FOLLOWS: ClassVar[dict[str, dict[str, Any]]] = {"noise": {"kind": "gaussian"}}
    VOLUMES: ClassVar[bool] = True
    SEVERAL: ClassVar[bool] = True

    kind: Literal["ldm"] = "ldm"
    network: UNetConfig = UNetConfig()
    autoencoder: CodebookConfig = CodebookConfig()
    region: RegionConfig = RegionConfig()

    @property
    def divisor(self) -> int:
        return self.network.divisor * self.autoencoder.divisor

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(h, w) or (d, h, w)."""
        sizes = self.grid.shape[::-1] if self.solid else self.grid.shape[1::-1]
        return tuple(size // self.autoencoder.divisor for size in sizes)

    def noise_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.autoencoder.dimension, *self.latent_shape

    def held(self, shape: Sequence[int]) -> int:
        return 0

    @model_validator(mode="after")
    def _of_one_piece(self) -> Self:
        if self.solid != (self.autoencoder.axes == 3):
            raise ValueError(f"autoencoder.axes {self.autoencoder.axes}: other than network.axes")
        if self.region.steps[1] > self.schedule.steps:
            raise ValueError(f"region.steps {self.region.steps}: beyond schedule.steps = {self.schedule.steps}")
        if self.noise.kind != "gaussian":
            raise ValueError(f"noise.kind {self.noise.kind}: latents are noised with gaussian")
        return self


class Recipe(base.NoisedRecipe, Settings):
    """autoencoder: comes from a model of kind vqvae."""

    FREE: ClassVar[tuple[str, ...]] = ("defaults", "region")

    autoencoder: vqvae.StartedCodebook = vqvae.StartedCodebook()

    @property
    def donor(self) -> str:
        return base.needed(self.name, "autoencoder", self.autoencoder.pretrained, "vqvae")


@dataclass(frozen=True)
class Options:
    """t: how far the latents are noised; variant: d is c in fewer steps, with DDIM.

    steps: of the way back, with DDIM (none: FEW_STEPS for d, and every step, with DDPM, for the others).
    """

    t: int = 500
    variant: Annotated[
        Variant,
        Option(
            "a heals all of the scan; b too, and the score counts in the region alone; c heals the region alone; d is "
            "c in fewer steps, 50 of the bound and 30 back. Default: d."
        ),
    ] = "d"
    steps: int | None = None
    bounds: Annotated[
        int | None,
        Option(
            "Evaluations that tell where the region is, of the numbers that the model has limits for. Default: 50 for "
            "variant d, else 200, or what is nearest.",
            least=1,
        ),
    ] = None
    chain: Annotated[
        int, Option("Evaluations over the whole chain, whose mean bound is one more case score. Default: 0.", least=0)
    ] = 0
    outside: Annotated[
        Literal["noised", "clean"],
        Option(
            "What is kept outside of the region on the way back: its latent noised to each step, as RePaint does, or "
            "clean, as the paper prints. Default: noised."
        ),
    ] = "noised"
    repeats: Annotated[
        int,
        Option(
            "How often each step back is taken, its noise added again in between: of autoddpm's second walk (default "
            "5), of ldm's variants a to c (default 1).",
            least=1,
        ),
    ] = 1
    grow: Grow = 0

    def __post_init__(self) -> None:
        if self.repeats > 1 and self.walked:
            raise UadError("--repeats has no effect where steps are left out (--variant a, b or c, without --steps)")
        if self.bounds and self.variant == "a":
            raise UadError("--bounds has no effect with --variant a, which knows no region (leave it out)")
        if self.grow and self.variant == "a":
            raise UadError("--grow has no effect with --variant a, which knows no region (leave it out)")
        if self.outside == "clean" and self.variant in ("a", "b"):
            raise UadError("--outside has no effect with --variant a or b, which heal all of the scan (leave it out)")

    @property
    def walked(self) -> int | None:
        """Steps of DDIM; none where every step is walked."""
        return self.steps or (min(FEW_STEPS, self.t + 1) if self.variant == "d" else None)

    @property
    def looked(self) -> int:
        """Steps at which the bound is taken."""
        return 0 if self.variant == "a" else self.bounds or (FEW_BOUNDS if self.variant == "d" else BOUNDS)

    @property
    def maps(self) -> tuple[str, ...]:
        region = () if self.variant == "a" else ("bound", "region")
        return (*region, "chain") if self.chain else region

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.looked + self.chain + (self.walked or self.t * self.repeats + 1)


def settle(config: Settings, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the bound at a number of steps that there are limits for. Raises UadError when another one is asked for."""
    low, high = config.region.steps
    for name, most in (("bounds", high - low), ("chain", config.schedule.steps - 1)):
        if given.get(name, 0) > most:
            raise UadError(f"--{name} {given[name]}: there are {most} steps, at most")
    if given.get("variant") == "a":
        return [given]
    usual = Options(variant=given.get("variant", "d"), bounds=given.get("bounds")).looked
    if "bounds" in given:
        config.region.place(usual)
    nearest = min(config.region.counts, key=lambda count: abs(count - usual))
    return [given if nearest == usual else {**given, "bounds": nearest}]


def heal(model: Model, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Encode, find the region, noise and walk back, with everything outside of the region kept, decode.

    x: (B, C, H, W) in [-1, 1], or (B, 1, D, H, W) where the model is one of volumes. Maps, all of the size of x: bound,
    in nats per element, and region, 1 inside, but for variant a; chain, where it is asked for. Latents are not limited
    on the way. Raises UadError when the model does not know what is healthy.
    """
    import torch
    from torch.nn.functional import interpolate

    from uadtools.diffusion.bound import bound_map, evenly
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddim, ddpm
    from uadtools.diffusion.steps import spaced

    net: LatentDiffusion = model.net
    if options.variant != "a" and not net.limits.isfinite().all():
        raise UadError(
            "the model does not know how much of the bound is healthy, which the end of its training tells "
            "(uad-train --resume, or --variant a)"
        )
    z, shape = net.encode(x), x.shape[2:]
    maps: dict[str, Tensor] = {}
    inside = torch.ones_like(z[:, :1], dtype=torch.bool)
    if options.variant != "a":
        bound = bound_map(model, z, evenly(model.config.region.steps, options.looked), noise)
        region = grown(bound >= net.limits[model.config.region.place(options.looked)], options.grow)
        maps = {"bound": bound, "region": region.to(x)}
        inside = inside if options.variant == "b" else region
    if options.chain:
        maps["chain"] = bound_map(model, z, evenly((1, model.schedule.steps), options.chain), noise)

    eps, noised = noise(), options.outside == "noised"

    def keep(z_s: Tensor, s: int) -> Tensor:
        return torch.where(inside, z_s, add_noise(z, s, eps, model.schedule) if noised and s >= 0 else z)

    z_t = keep(add_noise(z, options.t, eps, model.schedule), options.t)
    if options.walked is None:
        walk = ddpm(model, z_t, options.t, noise, keep=keep, repeats=options.repeats)
    else:
        walk = ddim(model, z_t, spaced(options.t, options.walked), noise, keep=keep)
    return Healing(net.decode(end(walk)), {role: interpolate(latent, shape) for role, latent in maps.items()})


def build(settings: Settings) -> LatentDiffusion:
    from uadtools.interface.learning import unet
    from uadtools.nets.latent import LatentDiffusion

    channels = settings.autoencoder.dimension
    denoiser = unet(settings.network, in_channels=channels, out_channels=channels)
    limits = len(settings.region.counts), *settings.latent_shape
    return LatentDiffusion(vqvae.network_of(settings.autoencoder, settings.channels), denoiser, limits)


def loss(recipe: Recipe, net: LatentDiffusion, batch: Batch, step: int) -> Tensor:
    """Noise the latent of each slice to a t of its own, and tell noise or latent."""
    from uadtools.interface.learning import distance, noised

    noisy = noised(recipe, net.encode(batch.x0).float(), batch.seeds)
    return distance(recipe, net(noisy.x_t, noisy.t), noisy.target)


def start(recipe: Recipe, nets: Sequence[LatentDiffusion], donor: Donor, slices: Healthy) -> None:
    """Take the autoencoder, and measure the deviation of its latents on the slices."""
    import torch

    from uadtools.interface.learning import spread_out

    vqvae.take(donor, recipe.autoencoder, [net.autoencoder for net in nets])
    first, device = nets[0], nets[0].deviation.device
    windows = (slices.windows(place[None], 0, device) for place in spread_out(slices, SAMPLE))
    deviation = torch.cat([first.encode(slices.seen(x)) for x in windows]).std()
    for net in nets:
        net.deviation.copy_(deviation)


def finish(model: Model, slices: Healthy, seed: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Measure how much of the bound healthy slices have."""
    return {"limits": healthy_limits(model, slices, seed)}, {}


def healthy_limits(model: Model, slices: Healthy, seed: int) -> Tensor:
    """Return the percentile of the bound over healthy slices at each position of the latent, (K, h, w) or (K, d, h, w).

    K: the numbers of steps that the bound may be averaged over. These, the steps and the percentile are the model's.
    Source: Pinaya et al. 2022, section 3.
    """
    import torch

    from uadtools.diffusion.bound import bound_map, evenly
    from uadtools.noise.source import SliceNoise

    region = model.config.region

    def bounds(x: Tensor, first: int) -> Tensor:
        z = model.net.encode(x)
        keys = [(seed, first + i) for i in range(len(z))]
        noise = SliceNoise(model.config.noise, tuple(z.shape[1:]), keys, model.device)
        maps = [bound_map(model, z, evenly(region.steps, count), noise) for count in region.counts]
        return torch.cat(maps, dim=1)

    return healthy_percentile(bounds, slices, region.percentile, model.device)
