"""Models that were trained before, of which those that learn from labels have a part: read as a recipe is."""

from __future__ import annotations

from collections.abc import Collection
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
    """Take network, contrasts, target, schedule and noise of a recipe from the model of its network.

    Where that cannot be read, training tells. Raises UadError for a model of another kind.
    """
    network = data.get("network") if isinstance(data, dict) else None
    if not isinstance(network, dict):
        return data
    config = config_of("network", network.get("pretrained"), (KIND,), f"not '{KIND}', so not taken")
    if config is None:
        return data
    told = config.model_dump(include={"network", "contrasts", "target", "schedule", "noise"})
    return {**told, **data, "network": {**told["network"], **network}}


def config_of(table: str, pretrained: Any, kinds: Collection[str], what: str) -> Any:
    """Read the settings of the model that a recipe's table names; none where that cannot be read: training tells.

    Raises UadError for a model of another kind. what: is not to be had of it.
    """
    if not isinstance(pretrained, str):
        return None
    try:
        config = read_config(located(Path(pretrained)))
    except UadError:
        return None
    if config.kind not in kinds:
        raise UadError(
            f"{table}.pretrained {pretrained}: a model of kind '{config.kind}', {what} "
            f"(those of {' and '.join(kinds)} are)"
        )
    return config
