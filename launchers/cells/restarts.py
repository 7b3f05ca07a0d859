"""When a process that has died may start again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_DELAY_SECONDS = 0.5  # before a restart; doubled at each further one in a row
MAX_DELAY_SECONDS = 30.0
HEALTHY_AFTER_SECONDS = 600.0  # after such a life, earlier deaths by a signal no longer count


@dataclass(frozen=True)
class Policy:
    """How often a process may start again: after deaths by a signal (None: any number), and after Python exceptions.

    Restarts after exceptions are at least `seconds_between_exceptions` apart.
    """

    deaths: int | None
    exceptions: int
    seconds_between_exceptions: float = 60.0


POLICIES = {
    "replay": Policy(deaths=5, exceptions=0),  # an exception is a bug: the cell ends
    "learner": Policy(deaths=5, exceptions=0),
    "train": Policy(deaths=5, exceptions=0),
    "evolver": Policy(deaths=5, exceptions=0),
    "actor": Policy(deaths=None, exceptions=10),
}


class Restarts:
    """Counts the restarts of one process; `clock` returns seconds."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.monotonic):
        self._policy, self._clock = policy, clock
        self.count = 0
        self._deaths = self._exceptions = self._in_a_row = 0
        self._last_exception = float("-inf")

    def after_death(self, lived: float) -> float | None:
        """Seconds until the next start after a death by a signal; None after too many. `lived` is in seconds."""
        self._recover(lived)
        self._deaths += 1
        if self._policy.deaths is not None and self._deaths > self._policy.deaths:
            return None
        return self._delay()

    def after_exception(self, lived: float) -> float | None:
        """Seconds until the next start after an exception; None after too many. `lived` is in seconds."""
        self._recover(lived)
        self._exceptions += 1
        if self._exceptions > self._policy.exceptions:
            return None
        now = self._clock()
        wait = max(0.0, self._last_exception + self._policy.seconds_between_exceptions - now)
        self._last_exception = now + wait
        return max(wait, self._delay())

    def _delay(self) -> float:
        self.count += 1
        self._in_a_row += 1
        return min(FIRST_DELAY_SECONDS * 2 ** (self._in_a_row - 1), MAX_DELAY_SECONDS)

    def _recover(self, lived: float) -> None:
        if lived > HEALTHY_AFTER_SECONDS:
            self._deaths = self._in_a_row = 0
        elif lived > 2 * MAX_DELAY_SECONDS:
            self._in_a_row = 0
