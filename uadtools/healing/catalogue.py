"""Models: which there are, what a file says of itself, whether it is sound, and what other programs trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadtools import methods
from uadtools.errors import UadError
from uadtools.files import read_toml
from uadtools.healing.plan import plan
from uadtools.models.checkpoint import (
    REFERENCE,
    amend,
    bundled,
    check_place,
    file_hash,
    located,
    read_config,
    read_shapes,
    save_model,
)
from uadtools.models.config import ModelConfig, Settings, parse
from uadtools.models.foreign_programs import ASSUMED, PICTURES, PLAIN, RECIPES
from uadtools.models.kinds import kind
from uadtools.training.recipe import apply_change, load_recipe, names
from uadtools.volume.roles import default_metric

if TYPE_CHECKING:
    from uadtools.models.foreign_programs import Program
    from uadtools.models.model import Model

Row = dict[str, Any]
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def list_models() -> list[Row]:
    """List the models that ship with the package, and the recipes by which one can train more."""
    return [
        *({"name": p.stem, "what": "model", **_use(read_config(p)), "bytes": p.stat().st_size} for p in bundled()),
        *({"name": name, "what": "recipe", **_use(load_recipe(name)), "bytes": None} for name in names()),
    ]


def _use(settings: Settings) -> Row:
    method = settings.defaults.method if methods.able(settings.kind) else None
    return {"kind": settings.kind, "method": method, "licence": settings.licence}


def info(path: Path | None = None) -> Row:
    """Return what a model file says of itself, without loading its weights.

    path: a file, or a bundled model's name; none: the default. Raises UadError when it is no model file.
    """
    path = located(path)
    config = read_config(path)
    shapes = read_shapes(path)
    learnt = [shape for name, shape in shapes.items() if not name.endswith(_BUFFERS) and not name.startswith(REFERENCE)]
    return {
        "file": str(path),
        "hash": file_hash(path),
        "bytes": path.stat().st_size,
        "parameters": sum(map(math.prod, learnt)),
        "methods": methods.able(config.kind),
        "scored_by": default_metric(plan(config).made) if methods.able(config.kind) else None,
        **config.model_dump(mode="json"),
    }


def check(path: Path | None = None) -> Path:
    """Read a model's weights, and let it answer to an empty slice. Returns the file's path.

    Raises UadError when the weights do not fit the settings, or they or the answer are not finite.
    """
    from uadtools.models.model import load_model

    path = located(path)
    model = load_model(path, device="cpu", precision="fp32")
    if not _finite_answer(model):
        raise UadError(f"{path}: it answers NaN or infinity to an empty slice")
    return path


FREE = ("name", "licence", "defaults")
"""What of a model may be set after training: nothing that its weights depend on."""


def settle(path: Path, changes: Sequence[str], out: Path, *, force: bool = False) -> ModelConfig:
    """Write a model file with other defaults, name or licence, such as "defaults.t=[400, 999]"; returns its settings.

    Raises UadError for another key, a value that does not fit, or defaults that could not heal; see `amend`.
    """
    data = read_config(path).model_dump(mode="json")
    for text in changes:
        if text.partition("=")[0].split(".")[0].strip() not in FREE:
            raise UadError(f"--set {text}: only {', '.join(FREE)} may be set after training")
        apply_change(data, text)
    config = parse(ModelConfig, data, str(path))
    methods.check_default(config.defaults.method, config.kind)
    amend(path, out, config, force=force)
    return config


def _finite_answer(model: Model) -> bool:
    import torch

    config, file = model.config, kind(model.config.kind)
    columns, rows, depth = config.grid.shape
    shape = (depth, rows, columns) if config.solid else (rows, columns)
    x = torch.full((1, config.seen, *shape), -1.0)
    if hasattr(file, "probe"):
        return bool(file.probe(model, x).isfinite().all())
    method = config.METHOD or config.kind  # of those that can heal with it, the quickest
    heal_plan, noise = plan(config, method=method), model.noise(shape, [(0,)])
    healed = methods.get(method).heal(model, x, heal_plan.options[0], lambda: 0 * noise()).healed
    return bool(healed.isfinite().all())


def import_model(
    checkpoint: Path, program: Program, out: Path, *, given: Mapping[str, Any], half: bool = False, force: bool = False
) -> Row:
    """Make a model file of what another program trained. Returns the file, what was assumed, and what was left out.

    given: settings that the checkpoint does not tell, or another program's default is wrong for; half: store the
    weights in 16 bits. Raises UadError for a checkpoint that cannot be read or is not supported, and for settings that
    are unknown, or contradict the checkpoint.
    """
    import torch

    from uadtools.models.foreign import check_fit, read_foreign

    check_place(out, force=force)
    contrasts = given.get("contrasts")
    foreign = read_foreign(checkpoint, program, len(contrasts) if isinstance(contrasts, list) and contrasts else 1)
    _agree(given, foreign.settings, str(checkpoint))
    settings = merged(merged(_defaults(program, foreign.settings, dict(leaves(given))), foreign.settings), given)
    stated = {name for name, _ in leaves(merged(foreign.settings, given))}
    assumed = {name: value for name, value in leaves(settings) if name not in stated}
    settings = {"name": out.stem, **settings}
    note = {"program": program, "checkpoint": checkpoint.name, "sha256": file_hash(checkpoint, 64)}
    parse(Settings, settings, "the model's settings")
    config = parse(ModelConfig, {**settings, "training": note}, "the model's settings")
    methods.check_default(config.defaults.method, config.kind)
    check_fit(config, foreign.weights, str(checkpoint))
    dtype = torch.float16 if half else torch.float32
    weights = {name: value.to(dtype) if value.is_floating_point() else value for name, value in foreign.weights.items()}
    if large := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise UadError(f"--half: {large[0]} does not fit in 16 bits (leave it out)")
    save_model(out, config, weights, half=False)
    return {
        "model": str(out),
        "kind": config.kind,
        "methods": methods.able(config.kind),
        "assumed": assumed,
        "notes": foreign.notes,
    }


def read_given(config: Path | None, changes: Sequence[str]) -> Row:
    """Read settings from a .toml file, and changes such as "network.heads=1". Raises UadError for unreadable ones."""
    given: Row = read_toml(config) if config else {}
    for change in changes:
        apply_change(given, change)
    return given


def _defaults(program: Program, stated: Row, wanted: Mapping[str, Any]) -> Row:
    """Return the settings that a program has where its checkpoint says nothing. wanted: the user's, by their keys."""
    if "kind" in stated:
        return {name: PICTURES[name] for name in ("grid", "intensity")}
    recipe = RECIPES.get(program)
    if wanted.get("kind") == methods.DEFAULT or stated["network"]["embedding"] == "add":
        recipe = PLAIN.get(program, recipe)
    settings: Row = {}
    if recipe:
        loaded = load_recipe(recipe)
        shared = set(Settings.of_kind(loaded.kind).model_fields) - {"name", "licence"}
        settings = loaded.model_dump(mode="json", include=shared, exclude_unset=True)
    assumed = merged(settings, ASSUMED[program])
    network = assumed["network"]
    if "network.head_channels" in wanted or "head_channels" in network:
        network.pop("heads", None)
    if "network.heads" in wanted:
        network.pop("head_channels", None)
    return assumed


def _agree(given: Mapping[str, Any], settings: Mapping[str, Any], where: str) -> None:
    """Raise UadError for a setting that says otherwise than the checkpoint."""
    stated = dict(leaves(settings))
    for name, value in leaves(given):
        if stated.get(name, value) != value:
            raise UadError(f"{name} = {value}: {where} says {stated[name]} (leave it out)")


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Row:
    """Put the second settings over the first. A table of another kind takes nothing from the one before it."""
    settings = dict(first)
    for name, value in second.items():
        before = settings.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            other = "kind" in before and value.get("kind", before["kind"]) != before["kind"]
            settings[name] = value if other else merged(before, value)
        else:
            settings[name] = value
    return settings


def leaves(settings: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """List settings by their keys, such as network.base."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value
