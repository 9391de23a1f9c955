"""People in folds: on whom a method is judged, on whom it is tuned, and from whom it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uadtools.bench.stored import key
from uadtools.errors import UadError
from uadtools.evaluation.subgroups import Participants, groups_in, whose
from uadtools.volume.stream import base_name

Part = Literal["learn", "tune", "judge"]


@dataclass(frozen=True)
class Folds:
    """The folds of people, by person, from 0 to count - 1. participants: as read_participants has them, or none."""

    count: int
    of: Mapping[str, int]
    participants: Participants | None

    def parts(self, file: str, fold: int) -> tuple[Part, ...]:
        """Tell what a file is for in a fold: its people are judged, those of the next are tuned on, others learnt from.

        Who is in no fold is the same in all: tuned on and judged where a plan says so.
        """
        own = self.of.get(person(file, self.participants) or "")
        if own is None:
            return ("tune", "judge")
        return ({0: "judge", 1: "tune"}.get((own - fold) % self.count, "learn"),)  # type: ignore[return-value]


def parted(
    files: Sequence[str], count: int, participants: Participants | None, stratify: Sequence[str], seed: int
) -> Folds:
    """Part the people that files are of into folds, as equal in number as can be.

    stratify: columns of participants; the people of each combination of groups are spread evenly over the folds, and
    numbers with many values are two groups, as in uad-eval --by. Who is where follows from the ids and the seed. Raises
    UadError when there are fewer people than folds, and when somebody is not among the participants.
    """
    people = set()
    for file in files:
        who = person(file, participants)
        if who is None:
            raise UadError(f"{file}: its name begins with no id of data.participants (add the row, or rename the scan)")
        people.add(who)
    if len(people) < count:
        raise UadError(
            f"folds = {count}: data.train has scans of {len(people)} by their names (a person is what a name begins "
            "with, up to _, or by data.participants)"
        )
    known = sorted(people)
    groups = zip(*(groups_in(known, participants, column) for column in stratify), strict=True) if stratify else None
    strata = dict(zip(known, groups, strict=True)) if groups else dict.fromkeys(known, ())
    order = sorted(known, key=lambda who: (strata[who], key(seed, who)))
    return Folds(count, {who: place % count for place, who in enumerate(order)}, participants)


def person(file: str, participants: Participants | None) -> str | None:
    """Tell whose scan a file is: the participant whose id its name begins with; without a table, up to the first _."""
    name = base_name(Path(file))
    return name.split("_")[0] if participants is None else whose(name, participants)
