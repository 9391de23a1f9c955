"""Writing files so that a reader sees the whole file or none; reading tables so that what is wrong is told."""

from __future__ import annotations

import atexit
import csv
import fcntl
import io
import json
import math
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from uadtools.errors import UadError

T = TypeVar("T")
LONGEST_NAME = 200
"""Bytes of a name that files are called after: with what is appended, disks take 255."""
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
"""Names that are devices on some systems."""
MOST_BYTES = 1 << 28
"""What holds settings, figures or names is no larger."""
_NUL = re.compile(r"\0|\\u0000|\\U0{8}")
DEEPEST = 100
"""So many tables lie in one another at most."""


@contextmanager
def written(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a hidden path beside `path`; rename it to `path` when the block succeeds, remove it when it does not.

    The hidden name ends as `path` does, so that writers that look at it (matplotlib) work. Only one process at a time
    has it, and what a killed one left of it is removed. Raises UadError when `path` exists and not force, when another
    process is writing it, and when the folder cannot be written or the disk is full.
    """
    check_free(path, force=force)
    try:
        part = _begun(path)
        try:
            mode = part.stat().st_mode
            yield part
            part.chmod(mode)  # a writer may put a file of its own there, which only its owner can read
            with part.open("rb") as file:
                os.fsync(file.fileno())
            _require_free(path, force=force)
            part.replace(path)
        finally:
            _end(part)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None


_under_way: dict[Path, FileIO | None] = {}
"""Hidden files that this process is writing, and their locks: one that nobody has locked is what a killed one left."""


@atexit.register
def clean_up() -> None:
    """Remove what is half written as the process ends: an interrupt may come where no block is there to see it."""
    for part in list(_under_way):
        with suppress(OSError):
            _end(part)


def _begun(path: Path) -> Path:
    """Make and lock the hidden file that becomes `path`. Raises UadError while another process has it."""
    part = _hidden(path)
    while _cleared(part):
        _under_way[part] = None
        with suppress(FileExistsError, BlockingIOError):  # another process was a moment faster
            lock = _under_way[part] = _opened(part)
            if not _locked(lock.fileno()):  # as on some network disks: a name that no other process takes has to do
                _end(part)
                part = part.with_name(f".uad-{secrets.token_hex(6)}{''.join(path.suffixes[-2:])}")
                _under_way[part] = _opened(part)
                return part
            if _is_at(lock.fileno(), part):
                return part
        _end(part)
    raise UadError(f"{path}: another process is writing it (let it end, or name another file)")


def _hidden(path: Path) -> Path:
    return path.with_name(f".uad-{path.name}")


def _opened(part: Path) -> FileIO:
    return part.open("xb", buffering=0)


def _end(part: Path) -> None:
    """Let go of a hidden file, which is removed unless it has become what it was to be."""
    if lock := _under_way.get(part):
        lock.close()
    _cleared(part)
    _under_way.pop(part, None)


def _cleared(part: Path) -> bool:
    """Remove a hidden file that no process has locked; tell whether there is none any more."""
    try:
        handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return True
    try:
        _locked(handle)
        if _is_at(handle, part):
            part.unlink()
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Lock an open file; tells whether its disk can do that. Raises BlockingIOError while another process has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(handle: int, part: Path) -> bool:
    """Tell whether an open file still has this name: meanwhile it may have been renamed or removed."""
    try:
        return os.path.samestat(os.fstat(handle), part.lstat())
    except FileNotFoundError:
        return False


def write_json(path: Path, data: Any, *, force: bool) -> None:
    """Write data as JSON; raises UadError as `written` does, and ValueError for numbers that are not finite."""
    with written(path, force=force) as part:
        part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, wrong: str = "no JSON") -> Any:
    """Read JSON. wrong: what is said of a file that holds none. Raises UadError that names the file."""
    return _read(path, parse_json, lambda error: wrong)


def read_toml(path: Path, wrong: str = "not readable settings") -> dict[str, Any]:
    """Read TOML. wrong: what is said of a file that holds none, before the reason. Raises UadError that names it."""
    return _read(path, parse_toml, lambda error: f"{wrong} ({error})")


def read_rows(path: Path, columns: Sequence[str] = (), wrong: str = "no table") -> list[dict[str, str]]:
    """Read a table whose first line names the columns: comma-separated, or tab-separated if its name ends in .tsv.

    What a line lacks is empty. columns: that must be there. Raises UadError that names the file.
    """

    def parse(text: str) -> list[dict[str, str]]:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
        names = list(lines.fieldnames or ())
        if missing := [column for column in columns if column not in names]:
            raise ValueError(f"it has no column {missing[0]}")
        rows = [{name: line[name].strip() for name in names} for line in lines]
        if rows and not names:
            raise ValueError("its first line names no columns")
        return rows

    return _read(path, parse, lambda error: f"{wrong} ({error})")


def read_lines(path: Path, wrong: str = "no text") -> list[str]:
    """Read the lines of a text. wrong: what is said of a file that holds none. Raises UadError that names the file."""
    return _read(path, lambda text: io.StringIO(text, newline=None).read().split("\n"), lambda error: wrong)


def parse_json(text: str | bytes | bytearray) -> Any:
    """Understand JSON. Raises ValueError, and nothing else, for what is none and for what `_sound` refuses."""
    return _sound(_parsed(json.loads, text))


def parse_toml(text: str) -> dict[str, Any]:
    """Understand TOML. Raises ValueError, and nothing else, for what is none and for what `_sound` refuses."""
    return dict(_sound(_parsed(tomllib.loads, text)))


def _read(path: Path, parse: Callable[[str], T], wrong: Callable[[Exception], str]) -> T:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES >> 20} MiB")
        text = raw.decode("utf-8-sig")
        if _NUL.search(text):
            raise ValueError("it holds a NUL character")
        return parse(text)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:
        raise UadError(f"{path}: {wrong(error)}") from None


def is_name(name: str) -> bool:
    """Tell whether what somebody else calls something can be the name of a file here, and leads to no other folder."""
    plain = not re.search(r"[\x00-\x1f\x7f/\\]", name) and name.strip(". ")
    return (
        bool(plain)
        and name.split(".", maxsplit=1)[0].upper() not in RESERVED
        and len(os.fsencode(name)) <= LONGEST_NAME
    )


def _parsed(parse: Callable[[Any], Any], text: str | bytes | bytearray) -> Any:
    try:
        return parse(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _sound(data: Any, where: str = "", depth: int = 0) -> Any:
    """Return data as they are. Raises ValueError, with their place, for what JSON and TOML can say and nobody means.

    That is half a character, numbers without end or of more than 64 bits, and tables more than DEEPEST deep.
    """
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            _sound(key, where, depth)
            _sound(value, f"{where}.{key}" if where else str(key), depth + 1)
    elif isinstance(data, str):
        data.encode()  # half a character cannot be
    elif isinstance(data, int | float) and not (math.isfinite(data) if isinstance(data, float) else abs(data) < 2**64):
        raise ValueError(f"{where or 'it'} is no finite number, or one of more than 64 bits")
    return data


def check_free(path: Path, *, force: bool) -> None:
    """Raise UadError when path exists and may not be replaced, or its folder does not exist.

    What a killed process left half of it is removed.
    """
    try:
        _cleared(_hidden(path))
        _require_free(path, force=force)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None


def _require_free(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise UadError(f"{path}: is a folder (name a file)")
    if path.exists() and not path.is_file():
        raise UadError(f"{path}: is no regular file, so it is not replaced (-o - writes to standard output)")
    if os.path.lexists(path) and not force:
        raise UadError(f"{path}: exists (--force replaces it)")
    if not path.parent.is_dir():
        raise UadError(f"{path}: the folder {path.parent} does not exist (make it first)")
