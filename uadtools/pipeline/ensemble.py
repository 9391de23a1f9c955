"""Several models for one scan: their scores are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from uadtools.errors import UadError
from uadtools.methods.combine import mean_residual
from uadtools.pipeline.heal import Plan, Watch, heal
from uadtools.volume.stream import Study, record

if TYPE_CHECKING:
    from uadtools.models.model import Model


@dataclass(frozen=True)
class Member:
    """A model, none for a method without one, and how to heal with it."""

    model: Model | None
    how: Plan


def heal_with(
    study: Study,
    members: Sequence[Member],
    *,
    condition: Study | None = None,
    seed: int = 0,
    batch: int = 0,
    watch: Watch = lambda done, total: None,
) -> Study:
    """Heal a study's scan with one model or several, as pipeline.heal.heal does with one.

    Of several, `healed` is as far from the scan at each voxel as theirs are in the mean, so that its l1 score is the
    mean of their scores; a map is the mean of theirs, and a region thus the share of them that found a voxel unlikely.
    Raises UadError when a scan does not suit a model, or one model makes a map that another does not.
    """
    total, done, made = sum(_work(member) for member in members), 0.0, []
    for member in members:
        share = _work(member) / total

        def told(now: int, of: int, before: float = done, share: float = share) -> None:
            watch(round(1000 * (before + share * now / of)), 1000)

        made.append(
            heal(study, member.model, member.how, condition=condition, seed=seed, batch=batch,
                 watch=watch if len(members) == 1 else told)
        )  # fmt: skip
        done += share
    return made[0] if len(made) == 1 else _together(study, members, made, seed)


def _work(member: Member) -> int:
    columns, rows = member.model.config.grid.shape[:2] if member.model else (1, 1)
    return member.how.evaluations((rows, columns))


def _together(study: Study, members: Sequence[Member], made: Sequence[Study], seed: int) -> Study:
    maps = [set(one.images) - set(study.images) - {"healed"} for one in made]
    if any(own != maps[0] for own in maps):
        raise UadError(
            f"the models make different maps ({' and '.join(', '.join(sorted(own)) or 'none' for own in maps)}), which "
            "have no mean (heal with models of one kind, in one way)"
        )
    scan = study.need("scan")
    arguments = {"models": [member.how.arguments for member in members]}
    names = ", ".join(member.model.name or member.model.config.name for member in members if member.model)
    start = replace(scan, provenance=record(scan, "uad-heal", arguments, seed=seed, model=names, threshold=None))
    healed = mean_residual(scan.data, np.stack([one.need("healed").data for one in made]))
    images = [start.derive(healed, "healed")]
    for role in sorted(maps[0]):
        mean = np.asarray(np.mean([one.need(role).data for one in made], axis=0), dtype=np.float32)
        images.append(start.derive(mean, role))
    return study.adding(*images)
