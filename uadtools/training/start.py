"""What a run starts from: parts of models that were trained before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uadtools.errors import UadError
from uadtools.models.checkpoint import REFERENCE, file_hash, read_config, read_tensors
from uadtools.nets.latent import LatentDiffusion
from uadtools.nets.resnet import Conditioned
from uadtools.settings import Config
from uadtools.training.data import Slices
from uadtools.training.recipe import Recipe
from uadtools.training.state import State

SAMPLE = 512
"""Slices by which the deviation of latents is measured."""


def start_from(state: State, recipe: Recipe, slices: Slices) -> str:
    """Give a fresh run the parts that its recipe names; returns the other model's name and hash, "" for none.

    restoration may start from a model of its own kind and sizes. cddpm may start from the encoder of a model of kind
    spark, and keeps its own last layer, which makes the code. ldm needs the autoencoder of a model of kind vqvae, and
    measures the deviation of its latents on the slices. Raises UadError when it is no such model, or of other sizes.
    """
    if recipe.kind == "ldm":
        return _autoencoder(state, recipe, slices)
    if recipe.start is not None:
        return _weights(state, recipe, Path(recipe.start))
    if recipe.encoder.pretrained is None:
        return ""
    path = Path(recipe.encoder.pretrained)
    name, weights = _model(path, "spark", "encoder", recipe.encoder.sizes, ("base", "blocks"))
    body = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.") and ".head." not in k}
    for net in (state.net, state.average):
        assert isinstance(net, Conditioned)
        net.encoder.load_state_dict(body, strict=False)
    return name


def _weights(state: State, recipe: Recipe, path: Path) -> str:
    config = read_config(path)
    if config.kind != recipe.kind or config.network != recipe.network:
        raise UadError(f"{path}: not of the recipe's kind and sizes (start needs a model of the same recipe)")
    weights = {name: tensor.float() for name, tensor in read_tensors(path).items() if not name.startswith(REFERENCE)}
    for net in (state.net, state.average):
        net.load_state_dict(weights)
    return f"{config.name}:{file_hash(path)}"


def _autoencoder(state: State, recipe: Recipe, slices: Slices) -> str:
    if recipe.autoencoder.pretrained is None:
        raise UadError(
            f"recipe {recipe.name}: autoencoder.pretrained is needed: a model of kind vqvae "
            "(uad-train --recipe vqvae -o FILE, then --set autoencoder.pretrained=FILE)"
        )
    path, sizes = Path(recipe.autoencoder.pretrained), recipe.autoencoder.sizes
    name, weights = _model(path, "vqvae", "autoencoder", sizes, ("widths", "residuals", "codes", "dimension", "axes"))
    nets = [net for net in (state.net, state.average) if isinstance(net, LatentDiffusion)]
    for net in nets:
        net.autoencoder.load_state_dict(weights)
    deviation = _deviation(nets[0], slices)
    for net in nets:
        net.deviation.copy_(deviation)
    return name


def _deviation(net: LatentDiffusion, slices: Slices) -> Tensor:
    chosen = np.linspace(0, len(slices) - 1, min(SAMPLE, len(slices))).round().astype(int)
    where = net.deviation.device
    pieces = (slices.windows(chosen[i : i + 1], 0, where) for i in range(len(chosen)))
    return torch.cat([net.encode(slices.seen(piece)) for piece in pieces]).std()


def _model(path: Path, kind: str, table: str, ours: Config, names: Sequence[str]) -> tuple[str, dict[str, Tensor]]:
    """Read a model of a kind, whose sizes are those of a table of the recipe. Returns name and hash, and weights."""
    config = read_config(path)
    if config.kind != kind:
        raise UadError(f"{path}: a model of kind '{config.kind}', not '{kind}' (uad-train --recipe {kind} makes one)")
    theirs: Any = config.network if kind == "vqvae" else config.encoder
    for name in names:
        there, here = getattr(theirs, name), getattr(ours, name)
        if there != here:
            raise UadError(
                f"{path}: other sizes: {name} is {there} there, {here} in the recipe (--set {table}.{name}=...)"
            )
    return f"{config.name}:{file_hash(path)}", read_tensors(path)
