"""Scans that failed before: a list beside what was made of the others, so that they need not fail in every run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uadtools.datasets.sink import Sink
from uadtools.errors import Misuse, UadError
from uadtools.files import read_json, write_json

NAME = "failed.json"


class BrokenScanError(UadError):
    """What is wrong with a scan itself, not with where its result is to go."""


@contextmanager
def blamed_on_scan(name: str = "") -> Iterator[None]:
    """Turn a UadError of the block into a BrokenScanError; name: comes before it."""
    try:
        yield
    except Misuse:
        raise
    except UadError as error:
        raise BrokenScanError(f"{name}: {error}" if name else str(error)) from None


class FailedBefore:
    """The list of a folder of outputs: what failed with these settings, why, and in which state it was.

    again: none counts as failed before. Raises UadError for a file of that name that is no such list.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, again: bool = False) -> None:
        self.path, self._settings = folder / NAME, settings
        self._rows: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return
        data = read_json(self.path)
        try:
            if data["settings"] == settings and not again:
                self._rows = {
                    row["scan"]: {"state": row["state"], "error": str(row["error"])} for row in data["failed"]
                }
        except (KeyError, TypeError):
            raise UadError(f"{self.path}: is no list of scans that failed (remove it)") from None

    def why(self, scan: str) -> str | None:
        """Return why a scan failed; None where it did not, or has changed since, which takes it off the list."""
        row = self._rows.get(scan)
        if row and row["state"] == _state(scan):
            return str(row["error"])
        self._rows.pop(scan, None)
        return None

    def note(self, scan: str, error: UadError) -> None:
        """Put a scan on the list, if it is to blame."""
        if isinstance(error, BrokenScanError) and (state := _state(scan)) is not None:
            self._rows[scan] = {"state": state, "error": str(error)}
            self.keep()

    def keep(self) -> None:
        """Write the list, or remove an empty one. Raises UadError."""
        rows = [{"scan": scan, **row} for scan, row in sorted(self._rows.items())]
        if rows:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, {"settings": self._settings, "failed": rows}, force=True)
        else:
            self.path.unlink(missing_ok=True)


def failed_before(sink: Sink, settings: dict[str, Any], *, again: bool) -> FailedBefore:
    """Return the list in the folder that a sink fills. Raises Misuse where there is no folder."""
    if sink.target is None or sink.is_file:
        raise Misuse("--skip-failed: keeps its list in the folder of the outputs (name one with -o)")
    return FailedBefore(sink.target, settings, again=again)


def _state(scan: str) -> list[int] | None:
    """Return what changes when a file does: its size, and when it was changed, be it its permissions alone."""
    try:
        status = Path(scan).stat()
    except (OSError, ValueError):
        return [0, 0] if scan != "-" else None
    return [status.st_size, status.st_ctime_ns]
