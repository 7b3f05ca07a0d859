"""When a process that died may start again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST, LONGEST = 0.5, 30.0  # seconds before a restart, doubled at each further one
HEALTHY = 600.0  # seconds of life after which what was used up is there again


@dataclass(frozen=True)
class Policy:
    """`deaths`: by a signal (None: without end); `exceptions`: of Python, at most one in `apart` seconds."""

    deaths: int | None
    exceptions: int
    apart: float = 60.0


POLICIES = {
    "replay": Policy(deaths=5, exceptions=0),  # an exception there is a bug: the cell ends
    "learner": Policy(deaths=5, exceptions=0),
    "evolver": Policy(deaths=5, exceptions=0),
    "actor": Policy(deaths=None, exceptions=10),
}


class Restarts:
    """The restarts of one process."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.monotonic):
        self._policy, self._clock = policy, clock
        self.count = 0
        self._deaths = self._exceptions = self._in_a_row = 0
        self._last_exception = float("-inf")

    def after_death(self, lived: float) -> float | None:
        """Seconds until the next start after a death by signal; None when there were too many."""
        self._recover(lived)
        self._deaths += 1
        if self._policy.deaths is not None and self._deaths > self._policy.deaths:
            return None
        return self._delay()

    def after_exception(self, lived: float) -> float | None:
        """Seconds until the next start after an exception; None when it must not start again."""
        self._recover(lived)
        self._exceptions += 1
        if self._exceptions > self._policy.exceptions:
            return None
        now = self._clock()
        wait = max(0.0, self._last_exception + self._policy.apart - now)
        self._last_exception = now + wait
        return max(wait, self._delay())

    def _delay(self) -> float:
        self.count += 1
        self._in_a_row += 1
        return min(FIRST * 2 ** (self._in_a_row - 1), LONGEST)

    def _recover(self, lived: float) -> None:
        if lived > HEALTHY:
            self._deaths = self._in_a_row = 0
        elif lived > 2 * LONGEST:
            self._in_a_row = 0
