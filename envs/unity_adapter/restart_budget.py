"""How often a dead player may be replaced."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_RESTARTS = 10  # in a run
MIN_SECONDS_BETWEEN_RESTARTS = 60.0


class RestartBudget:
    """Limits the restarts of a dead player: `total` in a run, and one within `seconds` seconds."""

    def __init__(
        self,
        total: int = MAX_RESTARTS,
        seconds: float = MIN_SECONDS_BETWEEN_RESTARTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.seconds, self._clock = total, seconds, clock
        self.used = 0
        self._last = float("-inf")  # time of the last restart

    def refusal(self) -> str | None:
        """Takes one restart from the budget and returns None, or returns the text that says why there is none."""
        now = self._clock()
        if self.used >= self.total:
            return f"it has been restarted {self.used} times in this run, the most that is tried"
        if now - self._last < self.seconds:
            return f"it died again {now - self._last:.0f} s after a restart, less than {self.seconds:g} s"
        self._last = now
        self.used += 1
        return None
