"""One scan after the other: of several, one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from uadtools.cohort.results import Result
from uadtools.concerns import Tell
from uadtools.datasets.sources import Inputs
from uadtools.errors import Misuse, UadError


def each(inputs: Inputs, work: Callable[[str], Iterable[Result]], fail: Tell) -> list[Result]:
    """Return what work says of every file; of one that fails, an `error`.

    fail: gets a line for each failure. Raises UadError for an only input, and Misuse, which is wrong with all.
    """
    results: list[Result] = []
    for file in inputs.files:
        try:
            results.extend(work(file))
        except Misuse:
            raise
        except UadError as error:
            if not inputs.several:
                raise
            fail(str(error))
            results.append({"name": file, "error": str(error)})
    return results
