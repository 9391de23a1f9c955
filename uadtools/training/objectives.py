"""What each kind of network is trained for: a loss that follows from slices, seeds and the number of the step.

x0: (B, C, H, W) in [-1, 1], C being 1, or 2 reach + 1 with the slice to reconstruct in the middle, or volumes (B, 1, D,
H, W), for kinds vqvae and ldm; seeds: (B,), from
which all that is random for a slice follows. So the loss of a batch is the mean of those of its slices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from uadtools.diffusion.patches import Box, boxes, masks
from uadtools.diffusion.process import add_noise
from uadtools.diffusion.schedule import Schedule
from uadtools.nets.dense import VAE, FAnoGAN
from uadtools.nets.latent import LatentDiffusion
from uadtools.nets.layout import packed
from uadtools.nets.resnet import Conditioned
from uadtools.nets.restored import restored
from uadtools.nets.vqvae import VQVAE
from uadtools.noise.coarse import coarse_fields
from uadtools.noise.source import fields_on
from uadtools.training.corrupted import Corrupted, Seeds
from uadtools.training.recipe import Recipe

_schedule = lru_cache(Schedule.of)


def loss(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Return the loss of a batch at a step (0-based), a scalar; that of kind restoration is taken on what it mends."""
    return _LOSSES[recipe.kind](recipe, net, x0, seeds, step)


def restoration(net: nn.Module, items: Corrupted) -> Tensor:
    """Mend corrupted slabs, and tell where: 2 l1 + BCE + 1/2 soft Dice, all inside the brain.

    Where something was changed, l1 counts five times; how much BCE counts there, the visible change says. Soft Dice is
    taken over the whole batch. Each part alone is common; together they learn faster here.
    """
    x0, logit = restored(items.seen, net(packed(items.seen), items.ceiling))
    changed, weight = (items.changed > 0).float(), torch.where(items.changed > 0, items.changed, 1) * items.brain
    count = items.brain.sum().clamp(min=1)
    apart = ((x0 - items.healthy).abs() / 2 * (1 + 4 * changed) * items.brain).sum() / count  # in units of [0, 1]
    bce = (F.binary_cross_entropy_with_logits(logit, changed, reduction="none") * weight).sum() / count
    found = logit.sigmoid() * items.brain
    dice = 1 - (2 * (found * items.changed).sum() + 1) / (found.sum() + items.changed.sum() + 1)
    return 2 * apart + bce + dice / 2


def diffusion(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Noise each slice to a t of its own, and tell x0 or the noise from that. Source: Ho et al. 2020, eq. 14."""
    noised = _noised(recipe, x0, seeds, _streams(seeds))
    return _distance(recipe, net(noised.x_t, noised.t), x0 if recipe.target == "x0" else noised.eps)


def pddpm(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Noise one patch of each slice, and tell what was there; the distance is that in the patch, or in all the slice.

    The patch has one of the recipe's sizes, and a place on their grid or anywhere. Source: Behrendt et al. 2023
    (pDDPM), section 3.2, whose code divides the distance in the patch by the pixels of the slice.
    """
    streams, shape = _streams(seeds), _shape(x0)
    noised = _noised(recipe, x0, seeds, streams)
    within = masks([_box(recipe, shape, stream) for stream in streams], shape).to(x0.device)
    output = net(packed(torch.where(within, noised.x_t, x0)), noised.t)
    if recipe.training.loss_on == "image":
        return _distance(recipe, output, x0)
    count = within.float().mean(dim=(1, 2, 3), keepdim=True)
    return (_measure(recipe)(output.float(), x0, reduction="none") * within / count).mean()


def cddpm(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Noise each slice, and tell x0 or the noise with the help of the clean slice's code; both parts learn.

    Source: Behrendt et al. 2023 (cDDPM), section 3.2.
    """
    assert isinstance(net, Conditioned)
    noised = _noised(recipe, x0, seeds, _streams(seeds))
    output = net(noised.x_t, noised.t, net.encoder(x0))
    return _distance(recipe, output, x0 if recipe.target == "x0" else noised.eps)


def spark(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Hide squares of each slice, and tell them from the rest: squared error, each hidden square normalised by itself.

    Source: Tian et al. 2023 (SparK), section 3.3, and He et al. 2022 for the normalisation.
    """
    side = recipe.encoder.divisor
    rows, columns = (length // side for length in _shape(x0))
    visible = max(1, round((1 - recipe.hidden) * rows * columns))
    ranks = np.stack([stream.permutation(rows * columns) for stream in _streams(seeds)])
    seen = torch.from_numpy(ranks < visible).view(len(x0), 1, rows, columns).to(x0.device)
    painted, wanted = (F.pixel_unshuffle(image, side) for image in (net(x0, seen).float(), x0))
    wanted = (wanted - wanted.mean(dim=1, keepdim=True)) / (wanted.var(dim=1, keepdim=True) + 1e-6).sqrt()
    hidden = ~seen
    return (((painted - wanted) ** 2).mean(dim=1, keepdim=True) * hidden).sum() / hidden.sum()


def vqvae(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Reconstruct the slices from codes: distance + commitment |z - code|^2; the codes follow by themselves.

    Source: van den Oord et al. 2017, eq. 3, the codebook by moving averages (appendix A.1).
    """
    assert isinstance(net, VQVAE)
    z = net.encode(x0).float()
    found = net.codebook(z)
    if net.training:
        net.codebook.follow(z, found.indices)
    made = net.decode(z + (found.codes - z).detach())  # gradients pass the codes by
    return _distance(recipe, made, x0) + recipe.commitment * F.mse_loss(z, found.codes)


def ldm(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Noise the latent of each slice to a t of its own, and tell noise or latent. Source: Pinaya et al. 2022."""
    assert isinstance(net, LatentDiffusion)
    z = net.encode(x0).float()
    noised = _noised(recipe, z, seeds, _streams(seeds))
    return _distance(recipe, net(noised.x_t, noised.t), z if recipe.target == "x0" else noised.eps)


def ae(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Reconstruct the slices. Source: Baur et al. 2021."""
    return _distance(recipe, net(x0), x0)


def dae(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Remove coarse noise that lies inside the brain, which is all that counts. Source: Kascenas et al. 2022."""
    coarse = coarse_fields(_shape(x0), seeds, resolution=recipe.coarse.resolution, std=recipe.coarse.std)
    noise = 2 * torch.from_numpy(coarse)[:, None].to(x0.device)  # images in [0, 1] are half as wide as [-1, 1]
    brain = (x0 > -1).float()
    return _distance(recipe, net(x0 + brain * noise) * brain, x0 * brain)


def vae(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Reconstruct the (middle) slices from a draw, and keep the latent normal: distance + beta KL.

    Both are means, over the pixels and over the latent's numbers. Source: Kingma & Welling 2014, appendix B.
    """
    assert isinstance(net, VAE)
    mean, log_variance = (part.float() for part in net.encode(x0))
    z = mean + (log_variance / 2).exp() * _normal(_streams(seeds), mean)
    divergence = (mean**2 + log_variance.exp() - log_variance - 1).mean() / 2
    return _distance(recipe, net.decoder(z), x0[:, [recipe.reach]]) + recipe.beta * divergence


def fanogan(recipe: Recipe, net: nn.Module, x0: Tensor, seeds: Seeds, step: int) -> Tensor:
    """Train critic and generator in turn, and for the rest of the steps the encoder; the other parts get no gradients.

    Source: Schlegl et al. 2019: WGAN-GP (Gulrajani et al. 2017), then the encoder by their eq. 4 (izi_f).
    """
    assert isinstance(net, FAnoGAN)
    if step >= recipe.gan_steps:
        return _encoder_loss(recipe, net, x0)
    streams = _streams(seeds)
    z = _normal(streams, x0.new_empty(len(x0), net.latent))
    if step % (recipe.gan.critic + 1) == recipe.gan.critic:
        return -_frozen(net.critic, net.generator(z)).float().mean()
    with torch.no_grad():
        made = net.generator(z).float()
    mix = x0.new_tensor([stream.random() for stream in streams])[:, None, None, None]
    between = (mix * x0 + (1 - mix) * made).requires_grad_()
    with torch.autocast(x0.device.type, enabled=False):  # half precision is too rough for a second derivative
        (slope,) = torch.autograd.grad(net.critic(between).sum(), between, create_graph=True)
    penalty: Tensor = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    apart: Tensor = (net.critic(made) - net.critic(x0)).float().mean()
    return apart + recipe.gan.penalty * penalty


def _encoder_loss(recipe: Recipe, net: FAnoGAN, x0: Tensor) -> Tensor:
    made = _frozen(net.generator, net.encoder(x0))
    seen, wanted = (_frozen(net.critic.features, x) for x in (made, x0))
    return _distance(recipe, made, x0) + recipe.gan.features * _distance(recipe, seen, wanted.float())


def _frozen(part: nn.Module, x: Tensor) -> Tensor:
    """Ask a part of a network without teaching it; gradients pass through to x alone."""
    fixed = {name: weight.detach() for name, weight in part.named_parameters()}
    answer: Tensor = functional_call(part, fixed, (x,))
    return answer


def _distance(recipe: Recipe, made: Tensor, wanted: Tensor) -> Tensor:
    return _measure(recipe)(made.float(), wanted)


def _measure(recipe: Recipe) -> Callable[..., Tensor]:
    return F.l1_loss if recipe.training.loss == "l1" else F.mse_loss


class _Noised(NamedTuple):
    x_t: Tensor
    t: Tensor
    eps: Tensor


def _noised(recipe: Recipe, x0: Tensor, seeds: Seeds, streams: list[np.random.Generator]) -> _Noised:
    """Noise each slice to a t of its own."""
    t = torch.tensor([stream.integers(*recipe.t_range) for stream in streams], device=x0.device)
    eps = fields_on(recipe.noise, tuple(x0.shape[1:]), seeds, x0.device)
    x_t = add_noise(x0, t, eps, _schedule(recipe.schedule.kind, recipe.schedule.steps))
    return _Noised(packed(x_t), t, eps)


def _box(recipe: Recipe, shape: tuple[int, int], stream: np.random.Generator) -> Box:
    """Draw a patch: its size, and its place on the grid or anywhere."""
    size = int(stream.choice(recipe.patches.sizes))
    if recipe.training.positions == "grid":
        grid = boxes(shape, size, recipe.patches.stride)
        return grid[stream.integers(len(grid))]
    top, left = (int(stream.integers(length - size + 1)) for length in shape)
    return Box(top, left, top + size, left + size)


def _shape(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _streams(seeds: Seeds) -> list[np.random.Generator]:
    """Return a generator for each slice, whose numbers have nothing to do with the noise fields of its seed."""
    return [np.random.default_rng((1, int(seed))) for seed in seeds]


def _normal(streams: list[np.random.Generator], like: Tensor) -> Tensor:
    """Draw a standard normal vector from each stream. like: (B, D), of which type and device are taken, too."""
    drawn = [stream.standard_normal(like.shape[1], dtype=np.float32) for stream in streams]
    return torch.from_numpy(np.stack(drawn)).to(like)


_LOSSES: dict[str, Callable[[Recipe, nn.Module, Tensor, Seeds, int], Tensor]] = {
    "diffusion": diffusion, "pddpm": pddpm, "cddpm": cddpm, "spark": spark, "vqvae": vqvae, "ldm": ldm,
    "ae": ae, "dae": dae, "vae": vae, "svae": vae, "fanogan": fanogan,
}  # fmt: skip
