"""What a run starts from: a model that was trained before, or parts of it."""

from __future__ import annotations

from pathlib import Path

from uadtools.errors import UadError
from uadtools.interface.learning import Donor
from uadtools.interface.recipe import Recipe
from uadtools.models.checkpoint import REFERENCE, file_hash, located, read_config, read_tensors
from uadtools.models.kinds import kind
from uadtools.models.model import Model, load_model
from uadtools.training.data import Slices
from uadtools.training.state import State


def donor_of(recipe: Recipe) -> Donor | None:
    """Read the model that a recipe says to start from, None for none. Raises UadError when it is no model."""
    if recipe.donor is None:
        return None
    path = located(Path(recipe.donor))
    config = read_config(path)
    weights = {name: weight for name, weight in read_tensors(path).items() if not name.startswith(REFERENCE)}
    return Donor(recipe.donor, config, weights)


def start_from(donor: Donor | None, state: State, recipe: Recipe, slices: Slices) -> str:
    """Give a fresh run what it starts from; returns that model's name and hash, "" for none.

    Raises UadError when it is no such model as the recipe's kind needs, or of other sizes, or of other
    contrasts.
    """
    if donor is None:
        return ""
    donor.check_contrasts(recipe)
    kind(recipe.kind).start(recipe, (state.net, state.average), donor, slices)
    return f"{donor.config.name}:{file_hash(located(Path(donor.path)))}"


def teacher_of(recipe: Recipe, began: str, device: str, precision: str) -> Model | None:
    """Load the model that a recipe asks at every step, None for none. began: name and hash of the one it began with.

    Raises UadError when it is no model, or another one.
    """
    if not recipe.taught or recipe.donor is None:
        return None
    teacher = load_model(recipe.donor, device=device, precision=precision)
    if teacher.name != began:
        raise UadError(f"{recipe.donor}: is {teacher.name}, and the run began with {began} (the same is needed)")
    return teacher
