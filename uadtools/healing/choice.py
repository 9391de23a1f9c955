"""Which of the bundled models does what is asked for, and which of them suits a scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uadtools import methods
from uadtools.anatomy.contrast import contrast_of
from uadtools.errors import UadError
from uadtools.healing.likeness import judged
from uadtools.models.checkpoint import bundled, default_path, located, read_config
from uadtools.models.config import ModelConfig
from uadtools.models.likeness import SURE
from uadtools.preparing.raw import prepared
from uadtools.volume.stream import Study


def bundled_for(method: str | None = None) -> Path:
    """Return the bundled model for a method: the default if it can do it, else the first that can.

    No method, or one that needs no model: the default. Raises UadError, saying how to train one, where none can.
    """
    kinds = methods.kinds(method) if method else ()
    able = [path for path in bundled() if not kinds or read_config(path).kind in kinds]
    if able:
        return able[0]
    recipe, kind = _recipe(str(method), kinds), " or ".join(f"'{kind}'" for kind in kinds)
    raise UadError(
        f"--method {method} needs a model of kind {kind}, and none is bundled "
        f"(uad-train DATA --recipe {recipe} -o {recipe}.safetensors, then --model {recipe}.safetensors)"
    )


def alternatives(method: str | None = None) -> list[Path]:
    """List the bundled models of which each scan gets the one that suits it: that of `bundled_for`, and those like it.

    These are of its kind and grid; one of other images is taken only where it is named.
    """
    first = bundled_for(method)
    config = read_config(first)
    others = ((path, read_config(path)) for path in bundled() if path != first)
    return [first, *(path for path, other in others if (other.kind, other.grid) == (config.kind, config.grid))]


def suited(study: Study, configs: Sequence[ModelConfig]) -> int:
    """Return which of several models suits a prepared scan: one that learnt its contrast alone, else the first.

    The scan must surely be of that contrast (SURE), by what uad-preprocess found of it or else by its features, and no
    less like that model's healthy scans than a share of them is (`typical`): for a model that learnt from one scanner,
    the first is sturdier on scans of others.
    """
    if len(configs) < 2:
        return 0
    scan = study.need("scan")
    brain = study.brain(scan)
    contrast = contrast_of(scan, brain)
    if contrast is None or contrast.p.get(contrast.name, 0) < SURE:
        return 0
    for number, config in enumerate(configs):
        if config.likeness and list(config.likeness.contrasts) == [contrast.name]:
            likeness = judged(scan, brain, config)
            if likeness and not likeness.beyond and likeness.p >= config.likeness.typical:
                return number
    return 0


def ready(study: Study, model: Path | str | None, method: str | None) -> tuple[Study, Path | None]:
    """Return a study that is prepared, and the file of the model to heal it with; none where the method has none.

    model: a file or a bundled model's name; none: the bundled one that does the method and suits the scan.
    """
    if method is not None and not methods.needs_model(method):
        return prepared(study), None
    paths = alternatives(method) if model is None else [located(Path(model))]
    configs = [read_config(path) for path in paths]
    study = prepared(study, configs[0])
    return study, paths[suited(study, configs)]


def _recipe(method: str, kinds: Sequence[str]) -> str:
    """Return the recipe for a method: its own, else one for the grid that scans are prepared for by default."""
    from uadtools.training.recipe import load_recipe, names

    if method in names():
        return method
    grid = read_config(default_path()).grid
    recipes = {name: recipe for name in names() if (recipe := load_recipe(name)).kind in kinds}
    return min(recipes, key=lambda name: (recipes[name].grid != grid, name), default="NAME")
