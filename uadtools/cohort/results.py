"""What is said of each scan: to the user at once, and to the caller in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from uadtools.concerns import told
from uadtools.healing.likeness import too_unlike, unlike_of
from uadtools.volume.stream import Study, concerns_of

Result = dict[str, Any]
"""What is known of one scan: its `name`, and the file `output` and more, or the `error`."""
Tell = Callable[[str], None]
Watch = Callable[[int, int], None]
Progress = Callable[[str], AbstractContextManager[Watch]]
"""Shows the progress of what the text names, for as long as it takes; what it gives is told what is done and to do."""


def silent(text: str) -> None:
    """Tell nobody."""


@contextmanager
def unseen(text: str) -> Iterator[Watch]:
    """Show no progress."""
    yield lambda done, total: None


def carried(study: Study, tell: Tell = silent) -> Result:
    """Return what each tool's JSON says of a study: the concerns of all tools so far, and how unlike the scan is.

    tell: gets one line where that is more than the model's limit.
    """
    if reason := too_unlike(study.product):
        tell(f"{study.name}: unlike what the model learnt from ({reason}), so what is found in it means little")
    return {
        "concerns": told(concerns_of(study.product)),
        "unlike": unlike_of(study.product),
    }
