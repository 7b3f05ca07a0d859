"""The time that the phases of the training loop take."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Sums the wall-clock seconds of each phase: `with clock("act"): ...`."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self._spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[phase] += time.perf_counter() - began

    @property
    def seconds(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self.start

    def drain(self) -> dict[str, float]:
        """{"seconds/<phase>": seconds} since the last drain."""
        spent = {f"seconds/{name}": value for name, value in self._spent.items()}
        self._spent.clear()
        return spent
