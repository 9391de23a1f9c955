"""Figures of subgroups: which people a method works for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from uadtools.errors import UadError
from uadtools.evaluation.measures import averaged
from uadtools.evaluation.reports import Row
from uadtools.files import read_rows

MISSING = ("", "n/a", "na", "nan")
MOST_VALUES = 5
"""A column of numbers with more different values than this is split at its median."""

CONTRAST = "contrast"
"""The column that scans of uad-simulate --kind contrast tell of themselves."""

Participants = Mapping[str, Mapping[str, str]]


def read_participants(path: Path) -> dict[str, dict[str, str]]:
    """Read a table with a row for each person: by `participant_id` if there is such a column, else by the first.

    path: comma-separated, or tab-separated if it ends in .tsv, as in BIDS; the first line names the columns. Raises
    UadError when it cannot be read, is empty, or has a person twice.
    """
    rows = read_rows(path)
    if not rows:
        raise UadError(f"{path}: an empty table (a line of column names and a row for each person are needed)")
    key = "participant_id" if "participant_id" in rows[0] else next(iter(rows[0]))
    people = {row[key]: row for row in rows if row[key]}
    if len(people) < len(rows):
        raise UadError(f"{path}: column {key} is empty somewhere, or has someone twice (one row for each person)")
    return people


def subgroups(
    scans: Sequence[Row], participants: Participants | None, by: Sequence[str], *, seed: int = 0
) -> dict[str, list[Row]]:
    """Return for each column the groups of scans with their number, their mean figures and the intervals of these.

    scans: rows of a report. A scan belongs to the person whose id its name begins with, up to the end or to what is
    neither letter nor digit; of several, the longest id. Numbers with more than MOST_VALUES different values are split
    at the median of these scans. The column CONTRAST is of the scans themselves, where they tell it, has no such limit,
    and needs no participants. Raises UadError for a scan without a person, and for a column that is not there.
    """
    groups = {}
    for column in by:
        members: dict[str, list[Row]] = {}
        for group, row in zip(_column(scans, participants, column), scans, strict=True):
            members.setdefault(group, []).append(row)
        groups[column] = [_figures(group, members[group], seed) for group in sorted(members, key=_order)]
    return groups


def _column(scans: Sequence[Row], participants: Participants | None, column: str) -> list[str]:
    """Return each scan's group in a column."""
    if column == CONTRAST and any(CONTRAST in row for row in scans):
        return [f"{row[CONTRAST]:g}" if CONTRAST in row else "n/a" for row in scans]
    if participants is None:
        raise UadError(f"no scan tells its {column} (uad-simulate --kind contrast makes some that tell their contrast)")
    people = []
    for row in scans:
        if (person := whose(row["name"], participants)) is None:
            raise UadError(
                f"{row['name']}: no participant whose id this name begins with (add the row, or rename the scan)"
            )
        people.append(person)
    return groups_in(people, participants, column)


def groups_in(people: Sequence[str], participants: Participants | None, column: str) -> list[str]:
    """Return the group of each of some participants in a column. Raises UadError where there is no such column."""
    rows = [participants[person] for person in people] if participants else []
    if not rows or column not in rows[0]:
        raise UadError(
            f"no column '{column}' in the table of participants (it has: {', '.join(rows[0] if rows else ())})"
        )
    return _groups([row[column] for row in rows])


def _figures(group: str, rows: Sequence[Row], seed: int) -> Row:
    mean, intervals = averaged(rows, seed)
    return {"group": group, "scans": len(rows), "mean": mean, "intervals": intervals}


def whose(name: str, participants: Participants) -> str | None:
    """Return the longest id that a name begins with, up to its end or what is neither letter nor digit, or none."""
    fitting = [key for key in participants if name.startswith(key) and not name[len(key) : len(key) + 1].isalnum()]
    return max(fitting, key=len) if fitting else None


def _groups(values: Sequence[str]) -> list[str]:
    """Name the group of each value."""
    present = [value for value in values if value.lower() not in MISSING]
    numbers = [_number(value) for value in present]
    if None not in numbers and len(set(numbers)) > MOST_VALUES:
        middle = median(number for number in numbers if number is not None)
        present = [f"{'up to' if float(value) <= middle else 'above'} {middle:g}" for value in present]
    names = iter(present)
    return ["n/a" if value.lower() in MISSING else next(names) for value in values]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _order(group: str) -> tuple[bool, bool, float, str]:
    """Sort what is missing last, and numbers by their value."""
    number = _number(group)
    return group == "n/a", group.startswith("above "), number or 0.0, group
