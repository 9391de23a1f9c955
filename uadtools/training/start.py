"""What a run starts from: a model that was trained before, or parts of it."""

from __future__ import annotations

from pathlib import Path

from uadtools.interface.learning import Donor
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import REFERENCE, file_hash, read_config, read_tensors
from uadtools.models.kinds import kind
from uadtools.training.data import Slices
from uadtools.training.state import State


def donor_of(recipe: Recipe) -> Donor | None:
    """Read the model that a recipe says to start from, None for none. Raises UadError when it is no model."""
    if recipe.donor is None:
        return None
    path = Path(recipe.donor)
    config = read_config(path)
    weights = {name: weight for name, weight in read_tensors(path).items() if not name.startswith(REFERENCE)}
    return Donor(recipe.donor, config, weights)


def start_from(donor: Donor | None, state: State, recipe: Recipe, slices: Slices) -> str:
    """Give a fresh run what it starts from; returns that model's name and hash, "" for none.

    Raises UadError when it is no such model as the recipe's kind needs, or of other sizes.
    """
    if donor is None:
        return ""
    kind(recipe.kind).start(recipe, (state.net, state.average), donor, slices)
    return f"{donor.config.name}:{file_hash(Path(donor.path))}"
