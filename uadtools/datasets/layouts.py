"""Data sets as they are handed out: a table of layouts, and the scans that a folder has in one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from uadtools.concerns import SHOWN, Tell, silent
from uadtools.errors import Misuse, UadError
from uadtools.files import read_toml
from uadtools.volume.listing import walked
from uadtools.volume.stream import base_name

TABLE = Path(__file__).with_name("layouts.toml")
_PARTS = {"subject": "[^/]+?", "site": "[^/]+?", "session": "[^/_-]+"}
"""What stands for a part of a path; of a contrast it is one of the layout's."""
_TOKEN = re.compile(r"\{(?P<part>\w+)\}|(?P<sign>[\[\]()|*])")
_SIGNS = {"[": "(?:", "]": ")?", "(": "(?:", ")": ")", "|": "|", "*": "[^/]*"}


@dataclass(frozen=True)
class Found:
    """A scan of a data set. truth: its mask, or a table of boxes; sick: a text of 1 or 0 that tells whether it is."""

    path: Path
    name: str
    subject: str
    contrast: str
    parts: Mapping[str, str]
    truth: Path | None = None
    sick: Path | None = None


@dataclass(frozen=True)
class Layout:
    """How a data set is handed out, as the head of layouts.toml explains. key: what it is called there."""

    key: str
    title: str
    scan: str
    contrasts: Mapping[str, str]
    truth: str = ""
    boxes: str = ""
    sick: str = ""
    label: Sequence[int] = ()
    ignore: Sequence[int] = ()
    name: str = ""
    _compiled: dict[str, re.Pattern[str]] = field(default_factory=dict, compare=False, repr=False)

    def find(self, root: Path, contrast: str | None = None, tell: Tell = silent) -> list[Found]:
        """List the scans of a contrast, by its name here or in the files; none: the layout's first.

        tell: gets a line for those that have no mask where others have one. Raises UadError where there are no scans,
        where two would have one name, and where a folder cannot be listed.
        """
        wanted = self._wanted(contrast)
        if not root.is_dir():
            raise UadError(f"{root}: no such folder")
        files = self._files(root)
        scans = {path: parts for path in files if (parts := self._parts(self.scan, path)) is not None}
        chosen = {path: parts for path, parts in scans.items() if self._called(parts) == wanted}
        if not chosen:
            there = sorted({self._called(parts) for parts in scans.values()})
            why = f"there are: {', '.join(there)}" if there else f"{self.title}; is it that, and unpacked?"
            pattern = self.scan if there else self.scan.replace("{contrast}", "({})".format("|".join(self.contrasts)))
            raise UadError(f"{root}: no {wanted} scan called .../{pattern} in it ({why})")
        masks, texts = (self._indexed(pattern, files) for pattern in (self.truth, self.sick))
        tables = [path for path in files if self.boxes and path.name == self.boxes]
        if self.boxes and not tables:
            raise UadError(f"{root}: no {self.boxes} in it (the table of {self.title}; put it beside the scans)")
        found = [
            Found(
                path,
                self._name(path, parts),
                parts["subject"],
                wanted,
                parts,
                tables[0] if tables else masks.get(_key(self.truth, parts)),
                texts.get(_key(self.sick, parts)),
            )
            for path, parts in chosen.items()
        ]
        _check_names(found)
        return self._with_masks(root, found, tell)

    def others(self, found: Sequence[Found], root: Path, names: Iterable[str]) -> dict[str, dict[str, Path]]:
        """Return of each scan the files in which the same visit's other contrasts are, by their names here."""
        by_visit = {(other.contrast, _visit(other)): other.path for name in names for other in self.find(root, name)}
        wanted = {name: self._wanted(name) for name in names}
        return {
            str(scan.path): {
                name: by_visit[called, _visit(scan)]
                for name, called in wanted.items()
                if (called, _visit(scan)) in by_visit
            }
            for scan in found
        }

    @cached_property
    def first(self) -> str:
        return next(iter(self.contrasts.values()))

    def _wanted(self, contrast: str | None) -> str:
        wanted = self.contrasts.get(contrast or "", contrast or self.first)
        if wanted not in self.contrasts.values():
            raise Misuse(f"--suffix: {self.key} has no {contrast} (there are {', '.join(self.contrasts.values())})")
        return wanted

    def _files(self, root: Path) -> list[Path]:
        unreadable: list[Path] = []
        files = sorted(path for path in walked(root, unreadable.append) if not path.name.startswith("."))
        if unreadable:
            raise UadError(f"{unreadable[0]}: cannot be listed (are its permissions yours to change?)")
        return files

    def _parts(self, pattern: str, path: Path) -> dict[str, str] | None:
        """Return what the parts of a pattern are in a path that ends as it says; None for other paths."""
        if pattern not in self._compiled:
            self._compiled[pattern] = re.compile(f"(?:.*/)?{self._regex(pattern)}", re.DOTALL)
        match = self._compiled[pattern].fullmatch(path.absolute().as_posix())
        return {part: text for part, text in match.groupdict().items() if text} if match else None

    def _regex(self, pattern: str) -> str:
        """Write a pattern as a regular expression; a part that comes again is the same text again."""
        parts = _PARTS | {"contrast": "|".join(map(re.escape, sorted(self.contrasts, key=len, reverse=True)))}
        seen, written, at = set[str](), "", 0
        for token in _TOKEN.finditer(pattern):
            written += re.escape(pattern[at : token.start()])
            part, at = token["part"], token.end()
            if part is None:
                written += _SIGNS[token["sign"]]
            else:
                written += f"(?P={part})" if part in seen else f"(?P<{part}>{parts[part]})"
                seen.add(part)
        return written + re.escape(pattern[at:])

    def _called(self, parts: Mapping[str, str]) -> str:
        return self.contrasts[parts["contrast"]] if "contrast" in parts else self.first

    def _name(self, path: Path, parts: Mapping[str, str]) -> str:
        return self.name.format(**{**parts, "contrast": self._called(parts)}) if self.name else base_name(path)

    def _indexed(self, pattern: str, files: Sequence[Path]) -> dict[tuple[str | None, ...], Path]:
        """Return the files of a pattern by their parts. Raises UadError for two of the same."""
        index: dict[tuple[str | None, ...], Path] = {}
        for path in files if pattern else ():
            if (parts := self._parts(pattern, path)) is not None:
                other = index.setdefault(_key(pattern, parts), path)
                if other != path:
                    raise UadError(f"{other} and {path.name} are of one scan (name the folder of one of them)")
        return index

    def _with_masks(self, root: Path, found: list[Found], tell: Tell) -> list[Found]:
        """Tell of scans without a mask, where others have one."""
        without = [scan.name for scan in found if scan.truth is None]
        if self.truth and without:
            others = f" and {len(without) - SHOWN} others" if len(without) > SHOWN else ""
            rest = "no list names them" if len(without) < len(found) else "lists have no truth"
            tell(f"{root}: no mask called .../{self.truth} of {', '.join(without[:SHOWN])}{others} ({rest})")
        return found


def layouts() -> dict[str, Layout]:
    """Return the table of layouts."""
    return {key: Layout(key, **table) for key, table in read_toml(TABLE).items()}


def layout_of(key: str) -> Layout:
    """Return a layout. Raises Misuse for a name that none has."""
    if key not in (known := layouts()):
        raise Misuse(f"--layout: no '{key}' (there are {', '.join(known)})")
    return known[key]


def _key(pattern: str, parts: Mapping[str, str]) -> tuple[str | None, ...]:
    """Return the parts by which a file belongs to a scan."""
    named = dict.fromkeys(token["part"] for token in _TOKEN.finditer(pattern) if token["part"])
    return tuple(parts.get(part) for part in named)


def _visit(scan: Found) -> tuple[str | None, ...]:
    return tuple(scan.parts.get(part) for part in _PARTS)


def _check_names(found: Sequence[Found]) -> None:
    by_name: dict[str, Found] = {}
    for scan in found:
        other = by_name.setdefault(scan.name, scan)
        if other is not scan:
            raise UadError(f"{other.path} and {scan.path} would both be called {scan.name} (name the folder of one)")
