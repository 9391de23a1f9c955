"""The kinds of models there are. Each is a file, as uadtools.methods finds them by their names; none is named here.

What such a file offers a base file, beside the method of healing that `uadtools.methods` explains:

    Settings             of the model: a subclass of models.settings.Settings, with `kind: Literal["NAME"] = "NAME"`
    Recipe               Settings and interface.recipe.Recipe, where training needs settings of its own
    build(settings)      the network, with fresh weights
    loss(recipe, net, batch, step)          what training makes small, a scalar; with the recipe's donor, a loaded
                                            Model, as `teacher` beside these where the recipe is `taught`

and, where it is needed:

    start(recipe, nets, donor, slices)      parts of another model (the recipe's `donor`) that training starts from
    finish(model, slices, seed)             what is measured once the weights are chosen, for the model file
    measure(net, slices, device)            what is told at every validation, beside the loss
    probe(model, x)                         an answer of a network that heals nothing, by which it is checked
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def registry() -> Any:
    """Return uadtools.methods, which knows the files; imported late, as they are made of what is in this room."""
    return import_module("uadtools.methods")


def kind(name: str) -> Any:
    """Return the file of a kind of model. Raises UadError for another name."""
    return registry().kind(name)
