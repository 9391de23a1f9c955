"""One model or several, whose scores are averaged, for one scan or several, whose slices share batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uadtools.concerns import Tell, silent
from uadtools.errors import Misuse, UadError
from uadtools.healing.choice import alternatives, suited
from uadtools.healing.combine import Rule, mean_residual
from uadtools.healing.engines import Engine, chosen, load
from uadtools.healing.heal import check_conditioned, check_prepared, heal_together, positions_of
from uadtools.healing.likeness import worst_of
from uadtools.healing.plan import Plan, Watch
from uadtools.healing.plan import plan as settle_plan
from uadtools.healing.recommended import without_threshold
from uadtools.methods import needs_model
from uadtools.models.checkpoint import file_hash, located, read_config
from uadtools.models.config import ModelConfig
from uadtools.volume.io import Image
from uadtools.volume.roles import in_channel
from uadtools.volume.stream import Study, read_path, record

if TYPE_CHECKING:
    from uadtools.models.exported import ExportedModel
    from uadtools.models.model import Model


@dataclass(frozen=True)
class Member:
    """A model, none for a method without one, and how to heal with it."""

    model: Model | ExportedModel | None
    plan: Plan


def heal_with(
    studies: Sequence[Study],
    members: Sequence[Member],
    *,
    condition: Study | None = None,
    seed: int = 0,
    batch: int = 0,
    watch: Watch = lambda done, total: None,
) -> list[Study]:
    """Heal studies' scans with one model or several, as healing.heal.heal does one scan with one.

    Of several, `healed` is as far from the scan at each voxel as theirs are in the mean, so that its l1 score is the
    mean of their scores; a map is the mean of theirs, and a region thus the share of them that found a voxel unlikely.
    Raises UadError when a scan does not suit a model, or one model makes a map that another does not.
    """
    if len(members) == 1:
        only = members[0]
        return heal_together(studies, only.model, only.plan, condition=condition, seed=seed, batch=batch, watch=watch)
    agreed([member.model.config for member in members if member.model])
    check_maps([member.plan for member in members])
    total, done, healed = sum(_work(member) for member in members), 0.0, []
    for member in members:
        share = _work(member) / total

        def part(now: int, of: int, before: float = done, share: float = share) -> None:
            watch(round(1000 * (before + share * now / of)), 1000)

        model, plan = member.model, member.plan
        healed.append(heal_together(studies, model, plan, condition=condition, seed=seed, batch=batch, watch=part))
        done += share
    return [_together(study, members, healings, seed) for study, *healings in zip(studies, *healed, strict=True)]


def slices_of(study: Study, members: Sequence[Member]) -> int:
    """Return how many slices of a study there are to heal. Raises UadError when it does not suit a model."""
    return max((len(positions_of(study, member.model)) for member in members if member.model), default=1)


def slices_at_once(members: Sequence[Member], batch: int) -> int:
    """Return how many slices fill a batch, which small scans may share; 1 where every scan is healed by itself."""
    models = [member.model for member in members if member.model and not member.model.config.solid]
    if not models:
        return 1
    from uadtools.healing.batches import fitting

    return max(batch or fitting(model, model.config.grid.shape[1::-1]) for model in models)


def agreed(configs: Sequence[ModelConfig]) -> ModelConfig | None:
    """Return the settings by which scans are prepared for all these models; none for no model.

    Raises UadError when they see images of different grids or intensities, or other contrasts.
    """
    seen = dict.fromkeys(f"{config.grid}, {config.intensity}" for config in configs)
    if len(seen) > 1:
        raise UadError(f"the models see images of different grids or intensities: {' and '.join(seen)}")
    shown = dict.fromkeys(", ".join(config.contrasts) if config.channels > 1 else "one" for config in configs)
    if len(shown) > 1:
        raise UadError(f"the models see different contrasts: {' and '.join(shown)} (heal with models of the same)")
    return configs[0] if configs else None


def _work(member: Member) -> int:
    assert member.model  # what needs none is never one of several
    columns, rows, _ = member.model.config.grid.shape
    return member.plan.evaluations((rows, columns))


def check_maps(plans: Sequence[Plan]) -> None:
    """Raise UadError when models make different maps."""
    made = [[*([] if plan.heals else [plan.product]), *plan.maps] for plan in plans]
    maps = dict.fromkeys(", ".join(sorted(roles)) or "none" for roles in made)
    if len(maps) > 1:
        raise UadError(
            f"the models make different maps ({' and '.join(maps)}), which have no mean (heal with models of one kind, "
            "in one way)"
        )


def _together(study: Study, members: Sequence[Member], healings: Sequence[Study], seed: int) -> Study:
    scan = study.need("scan")
    arguments = {"models": [member.plan.arguments for member in members]}
    names = ", ".join(member.model.name or member.model.config.name for member in members if member.model)
    plan = members[0].plan
    maps = plan.maps if plan.heals else (plan.product, *plan.maps)
    notes: dict[str, Any] = {"maps": list(plan.maps)} if plan.maps else {}
    notes |= {} if plan.heals else {"product": plan.product}
    configs = [member.model.config for member in members if member.model]
    if lost := without_threshold([member.plan for member in members], configs):
        notes["without_threshold"] = lost
    notes["engine"] = ", ".join(dict.fromkeys(member.model.ENGINE for member in members if member.model))
    provenance = record(scan, "uad-heal", arguments, seed=seed, model=names, threshold=None, **notes)
    image = replace(scan, provenance=provenance | worst_of([one.product for one in healings]))
    images = list[Image]()
    if plan.heals:
        for name in ("", *configs[0].contrasts[1:]):
            role, shown = in_channel("healed", name), study.need(in_channel("scan", name)).data
            healed = mean_residual(shown, np.stack([one.need(role).data for one in healings]))
            images.append(image.derive(healed, role))
    for role in sorted(maps, key=lambda role: (role != plan.product, role)):
        mean = np.asarray(np.mean([one.need(role).data for one in healings], axis=0), dtype=np.float32)
        images.append(image.derive(mean, role))
    return study.adding(*images)


def files_of(models: Sequence[str], method: str | None) -> list[list[Path]]:
    """Return the files of the models to heal with, together; several lists: those of which a scan gets one.

    None where the method has no model; where none is named, the bundled ones that can do the method.
    """
    if method is None or needs_model(method):
        return [[located(Path(model)) for model in models]] if models else [[path] for path in alternatives(method)]
    if models:
        raise Misuse(f"--model: --method {method} needs no model (leave it out)")
    return [[]]


@dataclass(eq=False)
class Ensemble:
    """The models to heal with, or none, and how; they are loaded when the first scan is there.

    Raises UadError when they see images of different grids or intensities, or make different maps, or the engine cannot
    heal so.
    """

    paths: Sequence[Path]
    settle: Callable[[ModelConfig | None], Plan]
    device: str
    precision: str
    engine: Engine
    tell: Tell = silent

    def __post_init__(self) -> None:
        self.configs = [read_config(path) for path in self.paths]
        self.plans = [self.settle(config) for config in self.configs or (None,)]
        self.config = agreed(self.configs)
        check_maps(self.plans)
        for path, plan in zip(self.paths, self.plans, strict=False):  # no path, where a method needs no model
            chosen(path, plan, self.engine, self.device, self.precision)

    @cached_property
    def members(self) -> list[Member]:
        if not self.paths:
            return [Member(None, self.plans[0])]
        pairs = zip(self.paths, self.plans, strict=True)
        how: dict[str, Any] = {
            "engine": self.engine,
            "device": self.device,
            "precision": self.precision,
            "tell": self.tell,
        }
        return [Member(load(path, plan, **how), plan) for path, plan in pairs]

    @cached_property
    def way(self) -> list[Any]:
        """How it heals and with which models, as JSON has it."""
        plans = [plan.arguments for plan in self.plans]
        return list(json.loads(json.dumps([plans, [file_hash(path) for path in self.paths]])))

    def slices_of(self, study: Study) -> int:
        members = self.members
        try:
            return slices_of(study, members)
        except UadError:
            return 0  # told when it is to be healed

    def slices_at_once(self, batch: int) -> int:
        return slices_at_once(self.members, batch)

    def __str__(self) -> str:
        models, plan = [member.model for member in self.members if member.model], self.plans[0]
        steps_back = [f"t {', '.join(map(str, plan.arguments['t']))}"] if "t" in plan.arguments else []
        where = [f"{models[0].device}, {models[0].precision}, {models[0].ENGINE}"] if models else []
        return ", ".join([plan.method, *steps_back, *where, *(model.name or model.config.name for model in models)])


def ensembles_of(
    models: Sequence[str],
    *,
    method: str | None = None,
    combine: Rule | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: Engine = "auto",
    tell: Tell = silent,
    **options: Any,
) -> list[Ensemble]:
    """Settle what to heal with, in uad-heal's words: models together, or several of which a scan gets one.

    tell: is told of an exported form that was left aside. Raises UadError, also where engine or device is not there.
    """

    def settle(config: ModelConfig | None) -> Plan:
        return settle_plan(config, method=method, combine=combine or "mean", **options)

    ensembles = [Ensemble(paths, settle, device, precision, engine, tell) for paths in files_of(models, method)]
    if engine == "onnx" and not ensembles[0].paths:
        raise Misuse(f"--engine onnx: --method {method} needs no model (leave it out)")
    if device not in ("auto", "cpu") and engine != "onnx" and ensembles[0].paths:
        from uadtools.models.model import pick_device

        pick_device(device)
    if combine and len(ensembles[0].plans[0].options) == 1:
        raise Misuse("--combine: one -t leaves nothing to combine (repeat -t)")
    return ensembles


def suiting(ensembles: Sequence[Ensemble], study: Study) -> Ensemble:
    """Return the models, of several, that suit a scan. Raises UadError where it is not prepared for them."""
    configs = [config for models in ensembles for config in models.configs[:1]]
    chosen = suited(study, configs)
    if len(configs) > 1:
        check_prepared(study, configs[chosen], [config.name for config in configs])
    return ensembles[chosen]


def condition_of(file: Path | str | None, how: Plan) -> Study | None:
    """Read what to condition models on; None for no file. Raises UadError where the method takes none."""
    if file is None:
        return None
    shared = replace(next(read_path(Path(file))), name=Path(file).name)
    check_conditioned(how)
    return shared


def tell_without_threshold(ensembles: Sequence[Ensemble], tell: Tell) -> None:
    """Tell why models know no threshold for this way of healing, where they do not."""
    for lost in dict.fromkeys(without_threshold(models.plans, models.configs) for models in ensembles):
        if lost:
            tell(
                f"{lost}, so uad-postproc will take Otsu's, and refuse scanwise and voxelwise ones (leave it out, or "
                "find a threshold with uad-calibrate)"
            )
