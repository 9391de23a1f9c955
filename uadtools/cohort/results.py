"""What is said of each scan: to the user at once, and to the caller in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from uadtools.concerns import Concern, Tell, silent, told
from uadtools.healing.likeness import too_unlike, unlike_of
from uadtools.volume.stream import Study, concerns_of

Result = dict[str, Any]
"""What is known of one scan: its `name`, and the file `output` and more, or the `error`."""
SHOWN = 3
Watch = Callable[..., None]
Progress = Callable[[str], AbstractContextManager[Watch]]
"""Shows the progress of what the text names, for as long as it takes; what it gives is told what is done and to do, and
a text in place of the first."""


@contextmanager
def unseen(text: str) -> Iterator[Watch]:
    """Show no progress."""
    yield lambda done, total, doing=None: None


def tell_concerns(concerns: Sequence[Concern], tell: Tell) -> None:
    """Tell of concerns; of many of one code the first few, and how many more there are."""
    for code in dict.fromkeys(concern.code for concern in concerns):
        alike = [str(concern) for concern in concerns if concern.code == code]
        for text in alike[:SHOWN]:
            tell(text)
        if more := len(alike) - SHOWN if len(alike) > SHOWN else 0:
            tell(f"{code}: {more} more of these (--json lists all)")


def carried(study: Study, tell: Tell = silent) -> Result:
    """Return what each tool's JSON says of a study: the concerns of all tools so far, and how unlike the scan is.

    tell: gets one line where that is more than the model's limit.
    """
    if reason := too_unlike(study.product):
        tell(f"{study.name}: unlike what the model learnt from ({reason}), so what is found in it means little")
    return {
        "concerns": told(concerns_of(*study.images.values())),
        "unlike": unlike_of(study.product),
    }
