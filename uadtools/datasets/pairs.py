"""Which truth, brain mask or scan belongs to which prediction: by order, which their names confirm, or by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

from uadtools.concerns import Concern
from uadtools.errors import UadError
from uadtools.volume.io import Image
from uadtools.volume.stream import base_name

_WORD = re.compile(r"[a-z]+-[a-z0-9]+(?=[_.\s]|$)|[a-z0-9]+")
"""Of a name in small letters: an entity of BIDS such as sub-01, or what has nothing but letters and digits."""
_NUMBERED = re.compile(r"([a-z]+)(\d+)")
_WHOSE = ("sub", "ses", "run", "acq", "echo", "rec")
_NO_ID = re.compile(r"t[12]\w{0,3}|[\d.]+(mm|t)|v\d+|mni\w*")
"""What has digits and is no id: contrasts, voxel sizes, field strengths, versions and templates."""


def words_of(name: str) -> frozenset[str]:
    """Return the parts of a name by which it is known; of s012 and of sub-012 that is 12, too."""
    words = _WORD.findall(name.lower())
    plain = [word for word in words if "-" not in word and (len(words) == 1 or not _NO_ID.fullmatch(word))]
    numbered = (*plain, *(word for word in words if word.startswith("sub-")))
    return frozenset(words).union(map(_number, re.findall(r"\d+", " ".join(numbered))))


def are_of_others(name: str, other: str) -> bool:
    """Tell whether two names carry ids of different subjects, sessions or runs: entities of BIDS, or words with digits.

    So do those that have the same word with other digits, as visit1 and visit2. Zeros before a number are nothing.
    Names without any id are of nobody known.
    """
    ours, theirs = ({e: _number(v) for e, _, v in (w.partition("-") for w in words_of(n)) if v} for n in (name, other))
    if both := [entity for entity in _WHOSE if entity in ours and entity in theirs]:
        return any(ours[entity] != theirs[entity] for entity in both)
    ids = [{w for w in words_of(n) if re.search(r"\d", w) and not _NO_ID.fullmatch(w)} for n in (name, other)]
    mine, its = ({(m[1], _number(m[2])) for w in some if (m := _NUMBERED.fullmatch(w))} for some in ids)
    counted = {word for word, _ in mine} & {word for word, _ in its}
    otherwise = any(not {one for one in mine & its if one[0] == word} for word in counted)
    return all(ids) and (otherwise or not (ids[0] & ids[1]))


def _number(digits: str) -> str:
    """Write a number without the zeros before it; what is none stays."""
    return digits.lstrip("0") or "0" if digits.isdecimal() else digits


def persons(names: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """List the names that carry the id of a person among the others, with a name of that person's there.

    An id is the entity sub of BIDS, or else the first word with digits; those of sessions and runs are none.
    """
    known = {id_: other for other in reversed(others) if (id_ := _person(other))}
    return [(name, known[id_]) for name in names if (id_ := _person(name)) in known]


def _person(name: str) -> str:
    words = _WORD.findall(name.lower())
    others = [word for word in words if word.partition("-")[0] not in _WHOSE and not _NO_ID.fullmatch(word)]
    subjects = [word for word in words if word.startswith("sub-")]
    return next((word for word in (*subjects, *others) if re.search(r"\d", word)), "")


class Names:
    """Files of one kind, by their names; each belongs to one scan.

    option: by which they were given; by_order: whether they could be paired by order, without --match.
    """

    def __init__(self, option: str, files: Sequence[str], *, by_order: bool = True) -> None:
        self.option, self.files, self.by_order = option, list(dict.fromkeys(files)), by_order
        self._words = {file: words_of(base_name(Path(file))) for file in self.files}
        shared = frozenset.intersection(*self._words.values()) if len(self.files) > 1 else frozenset()
        self._by_word: dict[str, list[str]] = {}
        for file, words in self._words.items():
            for word in words - shared:
                self._by_word.setdefault(word, []).append(file)
        self._taken: dict[str, str] = {}

    def likely(self, name: str) -> list[str]:
        """Return the files whose names have most in common with a scan's; none where nothing is, or it is another's."""
        common = Counter(file for word in words_of(name) for file in self._by_word.get(word, ()))
        fitting = {f: count for f, count in common.items() if not are_of_others(name, base_name(Path(f)))}
        return [file for file, count in fitting.items() if count == max(fitting.values())]

    def take(self, name: str) -> str:
        """Return the file of a scan. Raises UadError where there is none, or several, or another scan has it."""
        found = self.likely(name)
        if len(found) != 1:
            raise self._unclear(name, f"{found[0]} and {found[1]} fit alike" if found else "no file fits its name")
        if found[0] in self._taken:
            raise self._unclear(name, f"{found[0]} fits {self._taken[found[0]]}, too")
        self._taken[found[0]] = name
        return found[0]

    def _unclear(self, name: str, why: str) -> UadError:
        match, instead = (" --match", ", or leave out --match to pair by order") if self.by_order else ("", "")
        needed = "" if self.by_order else "each scan needs one, of --val, too; "
        return UadError(f"{name}: {self.option}{match}: {why} ({needed}rename them{instead})")

    def left(self) -> list[str]:
        """Return the files that no scan has taken."""
        return [file for file in self.files if file not in self._taken]


def by_order(option: str, pairs: Sequence[tuple[str, str]]) -> Iterator[Concern]:
    """Tell of scans and files that go together by order, and by their names do not. pairs: scan's name and file."""
    names = Names(option, [file for _, file in pairs])
    wrong = [(name, file) for name, file in pairs if not _fit(name, file, names)]
    if wrong:
        name, file = wrong[0]
        count = f"{len(wrong)} of {len(pairs)} pairs, such as " if len(pairs) > 1 else ""
        told = f"{count}{name} and {file}: together by order, and by their names they do not belong together"
        yield Concern("pairs", f"{option}: {told} (--match pairs by name)", float(len(wrong)))


def _fit(name: str, file: str, names: Names) -> bool:
    """Tell whether a pair may be one; a file for all scans, and an only pair, need not be named after them."""
    if len(names.files) == 1:
        return not are_of_others(name, base_name(Path(file)))
    return file in names.likely(name)


class Seen:
    """Images of one kind, of which some may be the same. Those of one value alone are not looked at."""

    def __init__(self, what: str) -> None:
        self.what, self._names, self._twice = what, dict[int, str](), list[tuple[str, str]]()

    def add(self, name: str, image: Image) -> None:
        if image.data.max() == image.data.min():
            return
        first = self._names.setdefault(crc32(image.data.tobytes()), name)
        if first is not name:
            self._twice.append((first, name))

    def concerns(self) -> Iterator[Concern]:
        if self._twice:
            first, name = self._twice[0]
            told = f"{name} has the {self.what} of {first}, voxel for voxel"
            more = f", and {len(self._twice) - 1} others are there twice" if len(self._twice) > 1 else ""
            yield Concern("twice", f"{told}{more} (each counts)", float(len(self._twice)))
