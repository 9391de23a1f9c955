"""What all commands share: the error boundary, what is told, progress bars."""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

import typer
import typer.main

from uadtools.errors import Misuse, UadError, near, plain
from uadtools.files import clean_up
from uadtools.program.help import Grouped
from uadtools.terminal import Closed, keep_memory, progress, say, shown, teller, teller_of_faults

__all__ = ["keep_memory", "progress", "say", "shown", "teller", "teller_of_faults"]

INTERRUPTED, CLOSED_PIPE = 130, 141
CONCERNED = 3
"""Exit status where --strict was asked for and something speaks against a result; all is written."""
NOT_LIGHT = ("torch", "mlxtend", "matplotlib")
"""Packages that a light install (requirements-light.txt) has not, or need not have."""
_interrupted = threading.Event()


@dataclass(frozen=True)
class Command:
    """A program: its body, its name, its examples, and the options that take all the words up to the next option.

    parts: the commands of a program that has several, such as `uad-models list`; its own body comes before theirs.
    renamed: old names of options, which work for one version, and the new ones.
    """

    body: Callable[..., None]
    name: str
    examples: str = ""
    variadic: tuple[str, ...] = ()
    parts: tuple[Command, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def app(self) -> typer.Typer:
        """Make what typer parses the arguments with."""
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        if self.parts:
            app.callback(**self._about())(self.body)
        for part in self.parts or (self,):
            app.command(part.name, cls=Grouped, **part._about())(part.body)
        return app

    def _about(self) -> dict[str, Any]:
        examples = "\b\nExamples:\n" + self.examples.strip("\n") if self.examples else None
        return {"epilog": examples, "context_settings": {"help_option_names": ["-h", "--help"]}}

    def call(self, words: Sequence[str]) -> None:
        """Run the command on these arguments. Raises SystemExit unless it is done."""
        with boundary(self.name), warnings.catch_warnings():
            warnings.showwarning = _untold
            command = typer.main.get_command(self.app())
            tell = teller(self.name, quiet="-q" in words or "--quiet" in words)
            words = spread(renewed(words, self.renamed, tell), self.variadic)
            if "--output=" in words or {("-o", ""), ("--output", "")} & {*pairwise(words)}:
                raise usage("a name is missing (a variable that is empty?)", "--output")
            with command.make_context(self.name, words) as context:
                import_nibabel()
                command.invoke(context)

    def given(self, words: Sequence[str]) -> dict[str, Any]:
        """Return the values of the options in these words, by name, as the command would have them. Raises Misuse."""
        try:
            context = typer.main.get_command(self.app()).make_context(self.name, list(words))
        except typer.TyperException as error:
            raise Misuse(_said(error).rstrip(".")) from None
        sources = {name: context.get_parameter_source(name) for name in context.params}
        return {name: context.params[name] for name, of in sources.items() if of and of.name == "COMMANDLINE"}

    def run(self) -> None:
        """Run the command on the program's arguments, and leave with its exit status."""
        try:
            with boundary(self.name):  # an interrupt may come before the options are read
                signal.signal(signal.SIGTERM, _interrupt)
                if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
                    signal.signal(signal.SIGINT, _interrupt)
                if instruction := os.environ.get(complete_variable(self.name)):
                    complete(typer.main.get_command(self.app()), self.name, instruction)
                _set_up()
                try:
                    self.call(sys.argv[1:])
                finally:
                    gc.freeze()  # else Python looks through all that lives, half a second of it, before it ends
        except SystemExit as leaving:
            if threading.active_count() > 1:
                _leave_at_once(leaving)
            raise


def _set_up() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while others compute steal their time
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file that is opened takes a closed one's place
        pass
    os.close(handle)
    sys.stdout = sys.stdout or Closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text


def import_nibabel() -> None:
    """Import nibabel without pydicom, which it loads for header extensions that no command reads: .3 s of a start."""
    if sys.modules.keys() & {"nibabel", "pydicom"}:
        return
    sys.modules["pydicom"] = None  # type: ignore[assignment]
    try:
        import nibabel  # noqa: F401
    finally:
        del sys.modules["pydicom"]


def complete_variable(name: str) -> str:
    """Name the variable by which a shell asks a program to complete its words."""
    return f"_{name.replace('-', '_').upper()}_COMPLETE"


def complete(command: Any, name: str, instruction: str) -> NoReturn:
    """Answer a shell that asks how the words of a program go on."""
    from typer._completion_classes import completion_init
    from typer.completion import shell_complete

    completion_init()
    sys.exit(shell_complete(command, {}, name, complete_variable(name), instruction))


def renewed(words: Sequence[str], renamed: Mapping[str, str], tell: Callable[[str], None]) -> list[str]:
    """Put the new names of options in place of old ones, and tell of each; what follows -- is no option."""
    options = words[: words.index("--")] if "--" in words else words
    pairs = [word.partition("=") for word in options]
    for old in dict.fromkeys(name for name, _, _ in pairs if name in renamed):
        tell(f"{old} is called {renamed[old]} (the old name works for this version only)")
    return ["".join((renamed.get(name, name), *value)) for name, *value in pairs] + list(words[len(options) :])


def spread(words: Sequence[str], variadic: Sequence[str]) -> list[str]:
    """Repeat a variadic option before each of its words; what begins with - ends them, also - itself."""
    repeated: list[str] = []
    option = ""
    for i, word in enumerate(words):
        if word == "--":
            return repeated + list(words[i:])
        if word.startswith("-"):
            option = word if word in variadic else ""
            valueless = i + 1 == len(words) or words[i + 1].startswith("-")
            repeated += [word] if not option or valueless else []
        else:
            repeated += [option, word] if option else [word]
    return repeated


@contextmanager
def boundary(name: str) -> Iterator[None]:
    """Turn what can go wrong in the block into one line on stderr and an exit status."""
    try:
        with _whole():
            yield
    except UadError as error:
        misused = isinstance(error, Misuse)
        _fail(name, f"{error} ({name} --help tells more)" if misused else str(error), 2 if misused else 1)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)
    except typer.TyperException as error:
        _fail(name, f"{_said(error).rstrip('.')} ({name} --help tells more)", error.exit_code)
    except KeyboardInterrupt:
        _fail(name, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        _abandon_stdout()
        sys.exit(CLOSED_PIPE)
    except OSError as error:
        _abandon_stdout()
        _fail(name, f"{error.filename or 'standard output'}: {error.strerror or error}", 1)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("out of memory|allocate memory", str(error)):
            raise
        _fail(name, "out of memory (healing and training need less with a smaller --batch)", 1)


@contextmanager
def _whole() -> Iterator[None]:
    """Write what was said, and know an interrupt again where compiled code made another exception of it."""
    try:
        yield
    except typer.Exit:
        _flush()
        raise
    except Exception as error:
        if _interrupted.is_set():
            raise KeyboardInterrupt from error
        missing = str(error.name).partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if missing in NOT_LIGHT:
            raise UadError(f"this needs {missing} (pip install {missing})") from None
        raise
    _flush()


def _said(error: typer.TyperException) -> str:
    """Return what is wrong with the words of a command; of an unknown option, with one that may have been meant."""
    option, possible = (getattr(error, name, None) for name in ("option_name", "possibilities"))
    if option and possible:
        bare = near(option.lstrip("-"), [name.lstrip("-") for name in possible])
        return f"No such option: {option}{bare.replace('mean ', 'mean --')}"
    return plain(error.format_message())


def _fail(name: str, message: str, status: int) -> NoReturn:
    line = " ".join(message.split())
    with suppress(OSError):
        print(shown(f"{name}: {line}" if status == INTERRUPTED else f"{name}: error: {line}"), file=sys.stderr)
    sys.exit(status)


def _leave_at_once(leaving: SystemExit) -> NoReturn:
    """End while threads still work ahead: what they compute in a library would crash as Python ends around them."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
    atexit._run_exitfuncs()
    clean_up()  # once more, as the very last: a thread may have gone on to write meanwhile
    os._exit(leaving.code if isinstance(leaving.code, int) else bool(leaving.code))


def _flush() -> None:
    """Write what is said so far, so that what cannot be written is told."""
    if sys.stdout:
        sys.stdout.flush()


def _untold(*warning: Any, **more: Any) -> None:
    """What Python and NumPy warn of is for programmers; what a user should know, a command tells."""


def _abandon_stdout() -> None:
    """Let what is still buffered go nowhere; else Python tries to write it at exit, and complains."""
    if sys.stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: Any) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def print_json(result: Any) -> None:
    print(json.dumps(result, indent=1, allow_nan=False))


def tell_done(results: Sequence[Mapping[str, object]], tell: Callable[[str], None]) -> None:
    """Tell how many of the scans an earlier run did."""
    if done := sum("skipped" in row for row in results):
        tell(f"{done} of {len(results)} done before (--force makes them anew)")


def leave(results: Sequence[Mapping[str, object]], strict: bool = False) -> None:
    """End with status 1 where one of several scans failed, else, if strict, with CONCERNED where one has concerns."""
    if any("error" in row for row in results):
        raise typer.Exit(1)
    if strict and any(row.get("concerns") for row in results):
        raise typer.Exit(CONCERNED)


def usage(message: str, option: str) -> Misuse:
    """Make the error for a wrong use of an option or argument."""
    return Misuse(f"{option}: {message}")
