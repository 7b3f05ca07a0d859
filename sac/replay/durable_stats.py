"""Running statistics that survive a crash; every row is counted exactly once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sac.files import replacing
from sac.replay.durable import DurableReplay
from sac.replay.running_stats import RunningStats
from sac.types import Sensor

log = logging.getLogger(__name__)
SAVE_EVERY_SECONDS = 5.0


class DurableStats(RunningStats):
    """RunningStats of the rows of a DurableReplay, saved with the number of rows that they count.

    Call `add` and then `save_if_due` after each chunk that was committed. A chunk must not have more rows than half the
    capacity of the replay.
    """

    def __init__(
        self, sensors: Sequence[Sensor], replay: DurableReplay, path: Path, *, every: float = SAVE_EVERY_SECONDS
    ):
        """Loads `path` (.npz) and counts the live rows that arrived later. `every`: seconds between two saves."""
        super().__init__(sensors)
        self._replay, self._path, self._every = replay, path, every
        since = self._load()
        for step in replay.arrived(since):
            self.add(step)
        self.save()

    def save_if_due(self) -> None:
        """Saves every few seconds, and before the replay can overwrite a row that the file does not count yet."""
        late = time.monotonic() - self._saved_at >= self._every
        if late or self._replay.total - self._saved > self._replay.capacity // 2:
            self.save(flush=late)

    def save(self, flush: bool = True) -> None:
        """Replaces the file atomically. Without `flush` a power cut may leave it empty; rows are then counted again."""
        arrays, scalars = self.state()
        contents: dict[str, Any] = {"total": self._replay.total, **scalars, **arrays}
        with replacing(self._path, flush=flush) as new, new.open("wb") as file:
            np.savez(file, **contents)
        self._saved, self._saved_at = self._replay.total, time.monotonic()

    def _load(self) -> int:
        """The arrival number up to which rows are counted; 0 where the file is damaged or of other sensors or rows."""
        if not self._path.exists():
            return 0
        try:
            with np.load(self._path) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # NumPy raises many kinds of errors for a damaged file
            log.warning("%s is damaged (%s): the statistics are computed again from the rows", self._path, error)
            return 0
        names = {*self.state()[0], "total", "count"}
        if names != set(arrays) or arrays["total"] > self._replay.total:
            return 0
        self.restore(arrays, {"count": int(arrays["count"])})
        return int(arrays["total"])
