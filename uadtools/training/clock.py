"""The time that a training run has."""

from __future__ import annotations

import time


class Clock:
    """Looks at the time after every step, so that what comes after the last one fits into it, too.

    seconds: of real time, from now on. What goes on between two looks is a "step", a "validation" or "saving"; each
    is expected to take as long as it took of late.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.since = seconds, time.monotonic()
        self.end = self.since + seconds
        self.took = dict.fromkeys(("step", "validation", "saving"), 0.0)

    def lap(self, what: str) -> None:
        """Note what the time since the last look went to."""
        now = time.monotonic()
        self.took[what] = max(now - self.since, 0.9 * self.took.get(what, 0.0))
        self.since = now

    def validating(self, batches: int) -> float:
        """Return how long a validation takes: as the last one did, else as so many steps."""
        return self.took["validation"] or batches * self.took["step"]

    def affords(self, batches: int) -> bool:
        """Tell whether a validation takes less than half of all the time."""
        return self.validating(batches) <= self.seconds / 2

    def over(self, batches: int) -> bool:
        """Note a step, and tell whether there is no time for one more. batches: of a validation after that, 0 for none.

        While one step is taken, the batch of the next is made, for which the end has to wait.
        """
        self.lap("step")
        step = self.took["step"]
        needed = 2 * step + (self.took["saving"] or step)
        needed += self.validating(batches) if self.affords(batches) else 0
        return self.since + needed > self.end
