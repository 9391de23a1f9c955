"""One scan after the other: what is done is skipped, and of several one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from uadtools.cohort.results import Result, carried
from uadtools.concerns import Tell
from uadtools.datasets.sources import Inputs
from uadtools.errors import Misuse, UadError


def each(
    inputs: Inputs,
    work: Callable[[str], Iterable[Result]],
    tool: str,
    asked: Mapping[str, Any],
    *,
    force: bool,
    fail: Tell,
) -> list[Result]:
    """Return what work says of every file; of one that fails, an `error`, of one that is done already, `skipped`.

    tool, asked: what made it, and with which arguments. fail: gets a line for each failure. Raises UadError for an
    only input, and Misuse, which is wrong with all.
    """
    results: list[Result] = []
    for file in inputs.files:
        try:
            before = None if force else skipped(inputs, file, tool, asked)
            results.extend([before] if before else work(file))
        except Misuse:
            raise
        except UadError as error:
            if not inputs.several:
                raise
            fail(str(error))
            results.append({"name": file, "error": str(error)})
    return results


def skipped(inputs: Inputs, file: str, tool: str, asked: Mapping[str, Any]) -> Result | None:
    """Return what is said of a file that is done already, None where it is not."""
    if (made := inputs.done(file, tool, asked)) is None:
        return None
    return {"name": made.name, "output": str(inputs.place(file)), "skipped": True, **carried(made)}
