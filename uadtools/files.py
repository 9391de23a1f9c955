"""Writing files so that a reader sees the whole file or none; reading tables so that what is wrong is told."""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from uadtools.errors import UadError

T = TypeVar("T")


@contextmanager
def written(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block succeeds, remove it when it does not.

    The temporary name keeps the suffix, so that writers that look at it (matplotlib) work. The file's permissions are
    those of any file the user makes. Raises UadError when `path` exists and not force, and when the folder cannot be
    written or the disk is full.
    """
    check_free(path, force=force)
    part = path.with_name(f".uad-{secrets.token_hex(6)}{''.join(path.suffixes[-2:])}")
    try:
        try:
            handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            mode = os.fstat(handle).st_mode
            os.close(handle)
            yield part
            part.chmod(mode)  # safetensors puts a file of its own there, which only its owner can read
            with part.open("rb") as file:
                os.fsync(file.fileno())
            check_free(path, force=force)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None


def write_json(path: Path, data: Any, *, force: bool) -> None:
    """Write data as JSON; raises UadError as `written` does, and ValueError for numbers that are not finite."""
    with written(path, force=force) as part:
        part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, wrong: str = "no JSON") -> Any:
    """Read JSON. wrong: what is said of a file that holds none. Raises UadError that names the file."""
    return _read(path, json.loads, lambda error: wrong)


def read_toml(path: Path, wrong: str = "not readable settings") -> dict[str, Any]:
    """Read TOML. wrong: what is said of a file that holds none, before the reason. Raises UadError that names it."""
    return _read(path, tomllib.loads, lambda error: f"{wrong} ({error})")


def _read(path: Path, parse: Callable[[str], T], wrong: Callable[[Exception], str]) -> T:
    try:
        return parse(path.read_text())
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UadError(f"{path}: {wrong(error)}") from None


def check_free(path: Path, *, force: bool) -> None:
    """Raise UadError when path exists and may not be replaced, or its folder does not exist."""
    try:
        if path.is_dir():
            raise UadError(f"{path}: is a folder (name a file)")
        if path.exists() and not path.is_file():
            raise UadError(f"{path}: is no regular file, so it is not replaced (-o - writes to standard output)")
        if path.exists() and not force:
            raise UadError(f"{path}: exists (--force replaces it)")
        if not path.parent.is_dir():
            raise UadError(f"{path}: the folder {path.parent} does not exist (make it first)")
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None
