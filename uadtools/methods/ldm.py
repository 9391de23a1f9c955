"""Latent diffusion: find the region that is unlikely, heal that region. Source: Pinaya et al. 2022, section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from uadtools.errors import UadError
from uadtools.methods.healing import Healing, Option, end

if TYPE_CHECKING:
    from torch import Tensor

    from uadtools.diffusion.process import Denoiser
    from uadtools.diffusion.samplers import Noise
    from uadtools.models.config import ModelConfig

    class LatentDenoiser(Denoiser, Protocol):
        """All that this method needs of a model."""

        @property
        def config(self) -> ModelConfig: ...
        @property
        def limits(self) -> Tensor: ...
        def to_latent(self, x: Tensor) -> Tensor: ...
        def from_latent(self, z: Tensor) -> Tensor: ...


Variant = Literal["a", "b", "c", "d"]
FEW_BOUNDS, FEW_STEPS = 50, 30
"""Of variant d: of the bound, as in the paper, and back with DDIM, of which the paper takes 50."""


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
        Option("Evaluations that tell where the region is. Default: 50 for variant d, else 200.", least=1),
    ] = None
    chain: Annotated[
        int,
        Option("Evaluations over the whole chain, whose mean bound is one more case score. Default: 0.", least=0),
    ] = 0
    repeats: Annotated[
        int,
        Option("How often each step back is taken, its noise added again in between (variants a to c).", least=1),
    ] = 1

    def __post_init__(self) -> None:
        if self.repeats > 1 and self.walked:
            raise UadError("--repeats has no effect where steps are left out (--variant a, b or c, without --steps)")
        if self.bounds and self.variant == "a":
            raise UadError("--bounds has no effect with --variant a, which knows no region (leave it out)")

    @property
    def walked(self) -> int | None:
        """Steps of DDIM; none where every step is walked."""
        return self.steps or (min(FEW_STEPS, self.t + 1) if self.variant == "d" else None)

    @property
    def looked(self) -> int:
        """Steps at which the bound is taken."""
        return 0 if self.variant == "a" else self.bounds or (FEW_BOUNDS if self.variant == "d" else 200)

    @property
    def maps(self) -> tuple[str, ...]:
        found = () if self.variant == "a" else ("bound", "region")
        return (*found, "chain") if self.chain else found

    def evaluations(self, shape: tuple[int, int]) -> int:
        return self.looked + self.chain + (self.walked or self.t * self.repeats + 1)


def heal(model: LatentDenoiser, x: Tensor, options: Options, noise: Noise) -> Healing:
    """Encode, find the region, noise and walk back, with everything outside of the region kept, decode.

    x: (B, 1, H, W) in [-1, 1], or (B, 1, D, H, W) where the model is one of volumes. Maps, all of the size of x: bound,
    in nats per element, and region, 1 inside, but for variant a; chain, where it is asked for. Latents are not limited
    on the way. Raises UadError when the model does not know what is healthy.
    """
    import torch
    from torch.nn.functional import interpolate

    from uadtools.diffusion.bound import bound_map, evenly
    from uadtools.diffusion.process import add_noise
    from uadtools.diffusion.samplers import ddim, ddpm, spaced

    if options.variant != "a" and not model.limits.isfinite().all():
        raise UadError(
            "the model does not know how much of the bound is healthy, which the end of its training tells "
            "(uad-train --resume, or --variant a)"
        )
    z, shape = model.to_latent(x), x.shape[2:]
    maps: dict[str, Tensor] = {}
    inside = torch.ones_like(z[:, :1], dtype=torch.bool)
    if options.variant != "a":
        bound = bound_map(model, z, evenly(model.config.region.steps, options.looked), noise)
        region = bound >= model.limits
        maps = {"bound": bound, "region": region.to(x)}
        inside = inside if options.variant == "b" else region
    if options.chain:
        maps["chain"] = bound_map(model, z, evenly((1, model.schedule.steps), options.chain), noise)

    eps = noise()

    def keep(z_s: Tensor, s: int) -> Tensor:
        return torch.where(inside, z_s, add_noise(z, s, eps, model.schedule) if s >= 0 else z)

    z_t = add_noise(z, options.t, eps, model.schedule)
    if options.walked is None:
        walk = ddpm(model, z_t, options.t, noise, keep=keep, repeats=options.repeats)
    else:
        walk = ddim(model, z_t, spaced(options.t, options.walked), noise, keep=keep)
    return Healing(model.from_latent(end(walk)), {name: interpolate(found, shape) for name, found in maps.items()})
