"""What all commands share: the error boundary, options, progress bars."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from uadtools import __version__
from uadtools.errors import UadError

INTERRUPTED, CLOSED_PIPE = 130, 141


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uadtools {__version__}")
        raise typer.Exit


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IN]...",
        help="NIfTI files, or - for a stream on standard input (which no IN means, too).",
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="A file, a folder (several inputs), or - for a stream on standard output. Default: files in the current "
        "folder, named after the input; a stream if the input is one.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Write the result as JSON to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors; no progress bar.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done, on standard error.")]
Version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)]
Provenance = Annotated[
    bool,
    typer.Option(
        "--provenance/--no-provenance",
        help="Keep the history and the chain of grids in a header extension, and beside files as JSON. Some foreign tools cannot "
        "read a piped image with an extension; without it --native is impossible.",
    ),
]
Volume = Annotated[
    int | None,
    typer.Option("--volume", metavar="N", help="Which volume of a 4-D image, counted from 0.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The same seed gives the same result.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="Where torch computes.")]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="auto|fp32|bf16",
        help="What torch computes in; auto: bf16 where the hardware multiplies in it, but fp32 for healing on a CPU.",
    ),
]


@dataclass(frozen=True)
class Command:
    """A program: its body, its name, its examples, and the options that take all the words up to the next option."""

    body: Callable[..., None]
    name: str
    examples: str
    variadic: tuple[str, ...] = ()

    def app(self) -> typer.Typer:
        """Make what typer runs: the body within the error boundary."""
        made = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        made.command(
            self.name,
            epilog="\b\nExamples:\n" + self.examples.strip("\n"),
            context_settings={"help_option_names": ["-h", "--help"]},
        )(boundary(self.name)(self.body))
        return made

    def run(self) -> None:
        """Run the command on the program's arguments, and leave with its exit status."""
        signal.signal(signal.SIGTERM, _interrupt)
        self.app()(args=spread(sys.argv[1:], self.variadic), prog_name=self.name)


def spread(words: Sequence[str], variadic: Sequence[str]) -> list[str]:
    """Repeat a variadic option before each of its words."""
    out: list[str] = []
    option = ""
    for i, word in enumerate(words):
        if word == "--":
            return out + list(words[i:])
        if word.startswith("-") and word != "-":
            option = word if word in variadic else ""
            out += [] if option else [word]
        elif option:
            out += [option, word]
        else:
            out.append(word)
        if (
            option
            and word == option
            and (i + 1 == len(words) or (words[i + 1].startswith("-") and words[i + 1] != "-"))
        ):
            out.append(option)  # without a value: typer says so
    return out


def boundary(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn what can go wrong into one line on stderr and an exit status."""

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(body)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                body(*args, **kwargs)
                sys.stdout.flush()
            except UadError as error:
                _fail(name, str(error), 1)
            except BrokenPipeError:
                # what is still in the buffer has nowhere to go; without this Python complains about it at exit
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(CLOSED_PIPE) from None
            except KeyboardInterrupt:
                _fail(name, "interrupted", INTERRUPTED)
            except MemoryError:
                _fail(name, "out of memory (a smaller --batch needs less)", 1)
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                _fail(name, f"{where}{error.strerror or error}", 1)

        return guarded

    return decorate


def _fail(name: str, message: str, status: int) -> None:
    line = " ".join(message.split())
    print(f"{name}: {line}" if status == INTERRUPTED else f"{name}: error: {line}", file=sys.stderr)
    raise typer.Exit(status)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def usage(message: str, option: str | None = None) -> typer.BadParameter:
    """Make the error for a wrong use: exit status 2."""
    return typer.BadParameter(message, param_hint=option)


def teller(name: str, quiet: bool) -> Callable[[str], None]:
    """Return a function that tells the user something on stderr, unless quiet."""
    return lambda text: None if quiet else print(f"{name}: {text}", file=sys.stderr)


@contextmanager
def progress(text: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr, if that is a terminal; yields watch(done, total)."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
