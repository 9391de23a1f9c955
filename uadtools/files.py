"""Writing files so that a reader sees the whole file or none, and nothing is lost by accident."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uadtools.errors import UadError


@contextmanager
def written(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block succeeds, remove it when it does not.

    The temporary name keeps the suffix, so that writers that look at it (nibabel, matplotlib) work. Raises UadError
    when `path` exists and not force, and when the folder cannot be written or the disk is full.
    """
    check_free(path, force=force)
    part: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=".uad-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
        os.close(handle)
        part = Path(name)
        part.chmod(0o666 & ~_umask())
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        check_free(path, force=force)
        part.replace(path)
    except OSError as error:
        raise UadError(f"{path}: {error.strerror or error}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def check_free(path: Path, *, force: bool) -> None:
    """Raise UadError when path exists and may not be replaced, or its folder does not exist."""
    if path.is_dir():
        raise UadError(f"{path}: is a folder (name a file)")
    if path.exists() and not force:
        raise UadError(f"{path}: exists (--force replaces it)")
    if not path.parent.is_dir():
        raise UadError(f"{path}: the folder {path.parent} does not exist (make it first)")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
