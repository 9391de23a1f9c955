"""One model or several, whose scores are averaged, for one scan or several, whose slices share batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from uadtools.errors import UadError
from uadtools.healing.combine import mean_residual
from uadtools.healing.heal import heal_together, positions_of, without_threshold
from uadtools.healing.likeness import worst_of
from uadtools.healing.plan import Plan, Watch
from uadtools.volume.stream import Study, record

if TYPE_CHECKING:
    from uadtools.models.config import ModelConfig
    from uadtools.models.model import Model


@dataclass(frozen=True)
class Member:
    """A model, none for a method without one, and how to heal with it."""

    model: Model | None
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

    Raises UadError when they see images of different grids or intensities.
    """
    seen = dict.fromkeys(f"{config.grid}, {config.intensity}" for config in configs)
    if len(seen) > 1:
        raise UadError(f"the models see images of different grids or intensities: {' and '.join(seen)}")
    return configs[0] if configs else None


def _work(member: Member) -> int:
    assert member.model  # what needs none is never one of several
    columns, rows, _ = member.model.config.grid.shape
    return member.plan.evaluations((rows, columns))


def check_maps(plans: Sequence[Plan]) -> None:
    """Raise UadError when models make different maps."""
    maps = dict.fromkeys(", ".join(sorted(plan.maps)) or "none" for plan in plans)
    if len(maps) > 1:
        raise UadError(
            f"the models make different maps ({' and '.join(maps)}), which have no mean (heal with models of one kind, "
            "in one way)"
        )


def _together(study: Study, members: Sequence[Member], healings: Sequence[Study], seed: int) -> Study:
    scan = study.need("scan")
    arguments = {"models": [member.plan.arguments for member in members]}
    names = ", ".join(member.model.name or member.model.config.name for member in members if member.model)
    maps = members[0].plan.maps
    notes: dict[str, Any] = {"maps": list(maps)} if maps else {}
    configs = [member.model.config for member in members if member.model]
    if lost := without_threshold([member.plan for member in members], configs):
        notes["without_threshold"] = lost
    provenance = record(scan, "uad-heal", arguments, seed=seed, model=names, threshold=None, **notes)
    image = replace(scan, provenance=provenance | worst_of([one.need("healed") for one in healings]))
    healed = mean_residual(scan.data, np.stack([one.need("healed").data for one in healings]))
    images = [image.derive(healed, "healed")]
    for role in sorted(maps):
        mean = np.asarray(np.mean([one.need(role).data for one in healings], axis=0), dtype=np.float32)
        images.append(image.derive(mean, role))
    return study.adding(*images)
