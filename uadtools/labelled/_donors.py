"""What the weak kinds have in common: a network of diffusion that was trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uadtools.errors import UadError
from uadtools.interface import recipe as base
from uadtools.methods.diffusion import DenoiserConfig
from uadtools.models.checkpoint import located, read_config

KIND = "diffusion"
ALIKE = ("network", "target", "schedule", "noise", "grid", "intensity")
"""What a recipe has in common with the model that its network comes from."""


class StartedDenoiser(DenoiserConfig, base.Started):
    """pretrained: a model of kind diffusion, a file or a bundled one's name, which tells what is not said otherwise."""


def file_of(network: StartedDenoiser) -> str | None:
    """Return the file of the model that a network comes from, None for none."""
    return str(located(Path(network.pretrained))) if network.pretrained else None


def like_its_network(data: Any) -> Any:
    """Take network, target, schedule and noise of a recipe from the model of its network, where that can be read.

    Where it cannot, training tells. Raises UadError for a model of another kind.
    """
    network = data.get("network") if isinstance(data, dict) else None
    pretrained = network.get("pretrained") if isinstance(network, dict) else None
    if not network or not isinstance(pretrained, str):
        return data
    try:
        config = read_config(located(Path(pretrained)))
    except UadError:
        return data
    if config.kind != KIND:
        raise UadError(f"network.pretrained {pretrained}: a model of kind '{config.kind}', not '{KIND}'")
    told = config.model_dump(include={"network", "target", "schedule", "noise"})
    return {**told, **data, "network": {**told["network"], **network}}
