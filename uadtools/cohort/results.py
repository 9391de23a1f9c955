"""What is said of each scan: to the user at once, and to the caller in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from uadtools.concerns import Tell, silent, told
from uadtools.healing.likeness import too_unlike, unlike_of
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, concerns_of

Result = dict[str, Any]
"""What is known of one scan: its `name`, and the file `output` and more, or the `error`."""
Watch = Callable[..., None]
Progress = Callable[[str], AbstractContextManager[Watch]]
"""Shows the progress of what the text names, for as long as it takes; what it gives is told what is done and to do, and
a text in place of the first."""


@contextmanager
def unseen(text: str) -> Iterator[Watch]:
    """Show no progress."""
    yield lambda done, total, doing=None: None


def done_before(name: str, path: Path | None, made: Image) -> Result:
    """Return what is said of a scan of which an earlier run made this product."""
    return {"name": name, "output": str(path), "skipped": True, **carried(Study(name, {made.role: made}))}


def carried(study: Study, tell: Tell = silent) -> Result:
    """Return what each tool's JSON says of a study: the concerns of all tools so far, and how unlike the scan is.

    tell: gets one line where that is more than the model's limit, and for each contrast that the model did not see.
    """
    for concern in concerns_of(study.product):
        if concern.code == "unseen":
            tell(f"{study.name}: {concern}")
    if reason := too_unlike(study.product):
        tell(f"{study.name}: unlike what the model learnt from ({reason}), so what is found in it means little")
    return {
        "concerns": told(concerns_of(*study.images.values())),
        "unlike": unlike_of(study.product),
    }
