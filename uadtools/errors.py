"""The one exception that means: the user, or the machine, can put this right."""

from collections.abc import Iterable


class UadError(Exception):
    """A problem to be told in one line: what is wrong, and what to do about it.

    Commands print it as ``uad-NAME: error: MESSAGE`` and exit with status 1; Python callers catch it.
    """


class Misuse(UadError):  # noqa: N818  it is a UadError by its class
    """Options or arguments that do not go together; commands point to their help, and exit with status 2."""


def near(word: str, names: Iterable[str]) -> str:
    """Ask, to go on with after a wrong word, whether one of these names was meant; nothing where none is like it."""
    from difflib import get_close_matches

    alike = 0.7 if len(word) > 3 else 0.66  # of three letters, one may be wrong
    return f", did you mean {found[0]}?" if (found := get_close_matches(word, list(names), 1, alike)) else ""


def plain(message: str) -> str:
    """Take out of a message what pydantic writes before the reason."""
    return message.replace("Value error, ", "")
