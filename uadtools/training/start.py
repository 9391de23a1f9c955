"""What a run starts from: a model that was trained before, or parts of it."""

from __future__ import annotations

from pathlib import Path

from uadtools.interface.learning import Donor
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import REFERENCE, file_hash, read_config, read_tensors
from uadtools.models.kinds import kind
from uadtools.training.data import Slices
from uadtools.training.state import State


def start_from(state: State, recipe: Recipe, slices: Slices) -> str:
    """Give a fresh run what its recipe says it starts from; returns that model's name and hash, "" for none.

    Raises UadError when it is no such model as the recipe's kind needs, or of other sizes.
    """
    if recipe.donor is None:
        return ""
    path = Path(recipe.donor)
    config = read_config(path)
    weights = {name: weight for name, weight in read_tensors(path).items() if not name.startswith(REFERENCE)}
    kind(recipe.kind).start(recipe, (state.net, state.average), Donor(recipe.donor, config, weights), slices)
    return f"{config.name}:{file_hash(path)}"
