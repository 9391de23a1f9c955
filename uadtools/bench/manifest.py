"""What a comparison was made of, in hashes: two people who did the same see in what they differ."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uadtools
from uadtools.bench.data import bare, stamp
from uadtools.bench.plan import BenchConfig
from uadtools.bench.stored import key
from uadtools.evaluation.reports import Row
from uadtools.files import read_json, write_json
from uadtools.models.checkpoint import file_hash

PACKAGES = ("torch", "numpy", "scipy", "nibabel")
MOST_NAMED = 3
"""Of the things that differ, so many are named."""


def manifest_of(
    config: BenchConfig, files: Sequence[str], base: Path, out: Path, models: Mapping[str, Sequence[str]]
) -> Row:
    """Return the hashes of plan, code, data and models, and the versions of what computes.

    files: of data; their names are those below base. models: of each method, the hashes in each fold. What was hashed
    before is kept in out, by name, size and time.
    """
    return {
        "plan": key(config.model_dump(mode="json", by_alias=True)),
        "code": _code(),
        "data": _hashes(files, base, out / "hashes.json"),
        "models": {name: list(found) for name, found in models.items()},
        "versions": {"uadtools": uadtools.__version__, "python": platform.python_version()}
        | {name: version(name) for name in PACKAGES},
        "machine": platform.machine(),
    }


def _hashes(files: Sequence[str], base: Path, kept: Path) -> dict[str, str]:
    """Return the files' hashes by their names."""
    known = dict(read_json(kept, "damaged (remove it, and the same command makes it again)")) if kept.exists() else {}
    by_place = {key(file, stamp(file)): file for file in files}
    found = {place: known.get(place) or file_hash(bare(file)) for place, file in by_place.items()}
    if found.items() - known.items():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, known | found, force=True)
    return {_name(file, base): found[place] for place, file in by_place.items()}


def _name(file: str, base: Path) -> str:
    path = Path(file)
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name


def _code() -> str:
    """Return a hash of all code and recipes of the package."""
    house = Path(uadtools.__file__).parent
    digest = sha256()
    for path in sorted(path for ending in ("*.py", "*.toml") for path in house.rglob(ending)):
        digest.update(path.relative_to(house).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Say in what two manifests differ: a line for each part that does."""
    return list(_differing(ours, theirs))


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for part in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(part), theirs.get(part)
        if one == other:
            continue
        if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
            yield f"{part}: {one} here, {other} there"
            continue
        names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
        shown = [
            f"{name} ({one.get(name, 'none')} here, {other.get(name, 'none')} there)" for name in names[:MOST_NAMED]
        ]
        more = f", and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        yield f"{part}: {', '.join(shown)}{more}"
