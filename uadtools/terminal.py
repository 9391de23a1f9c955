"""What reaches the terminal, and a program's memory: what all commands share and no command is about."""

from __future__ import annotations

import ctypes
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from uadtools.errors import UadError


def shown(text: str) -> str:
    """Return a line as it may reach a terminal: what would steer it is escaped, be it in a file's name or in a file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Print lines on standard output."""
    print("\n".join(map(shown, text.split("\n"))))


def teller(name: str, quiet: bool) -> Callable[[str], None]:
    """Return a function that tells the user something on stderr, unless quiet."""
    return lambda text: None if quiet else print(shown(f"{name}: {text}"), file=sys.stderr)


def teller_of_faults(name: str) -> Callable[[str], None]:
    """Return a function that tells the user what is wrong with one of several scans, on stderr."""
    return lambda text: print(shown(f"{name}: error: {text}"), file=sys.stderr)


@contextmanager
def progress(text: str, quiet: bool) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr, if that is a terminal; yields watch(done, total), which may get a text of its own, too."""
    if quiet or not sys.stderr or not sys.stderr.isatty():
        yield lambda done, total, doing=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(shown(text), total=None)

        def watch(done: int, total: int, doing: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=None if doing is None else shown(doing))

        yield watch


def keep_memory() -> None:
    """Keep what is freed for what is wanted next, where the C library can be told to (glibc).

    Else every map of a network is asked of the system and zeroed by it anew, which takes a tenth of the time.
    """
    _tell_malloc(most_mapped=0, trimmed_from=2**31 - 1)


def return_memory() -> None:
    """Return what is large to the system once it is freed, until `keep_memory`: loading leaves much behind."""
    _tell_malloc(most_mapped=2**16, mapped_from=2**17)


def _tell_malloc(**settings: int) -> None:
    numbers = {"trimmed_from": -1, "mapped_from": -3, "most_mapped": -4}  # malloc.h
    with suppress(AttributeError, OSError, TypeError):
        for name, value in settings.items():
            ctypes.CDLL(None).mallopt(numbers[name], value)


class Closed(io.TextIOBase):
    """Standard output where there is none: what is to be said there is an error, and not lost without a word."""

    def __bool__(self) -> bool:
        return False

    def write(self, text: str) -> int:
        raise UadError("standard output is closed, so the result is lost (redirect it into a file)")
