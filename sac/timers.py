"""Seconds spent in the phases of the training loop."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager


class Clock:
    """Adds up wall seconds by phase name: `with clock("act"): ...`."""

    def __init__(self):
        self.start, self._spent = time.perf_counter(), defaultdict(float)

    @contextmanager
    def __call__(self, phase: str):
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[phase] += time.perf_counter() - began

    @property
    def seconds(self) -> float:
        """Since the clock was made."""
        return time.perf_counter() - self.start

    def drain(self) -> dict[str, float]:
        """Seconds by phase since the last drain."""
        spent = {f"seconds/{name}": value for name, value in self._spent.items()}
        self._spent.clear()
        return spent
