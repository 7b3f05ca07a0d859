"""Running moments that survive a crash with every row counted once."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sac.files import replacing
from sac.replay.durable import DurableReplay
from sac.replay.running_stats import RunningStats
from sac.types import Sensor

log = logging.getLogger(__name__)


class DurableStats(RunningStats):
    """RunningStats of the rows of a DurableReplay, saved together with how many of them they count.

    After each chunk that was committed: `add` it, then `save_if_due`. Chunks must not exceed half the capacity.
    """

    def __init__(self, sensors: Sequence[Sensor], replay: DurableReplay, path: Path, *, every: float = 5.0):
        """Goes on with what `path` (.npz) holds and counts the live rows that came after it; `every` is in seconds."""
        super().__init__(sensors)
        self._replay, self._path, self._every = replay, path, every
        since = self._load()
        for step in replay.arrived(since):
            self.add(step)
        self.save()

    def save_if_due(self) -> None:
        """Saves every few seconds, and before a row that is not yet in the file can be overwritten."""
        late = time.monotonic() - self._saved_at >= self._every
        if late or self._replay.total - self._saved > self._replay.capacity // 2:
            self.save(flush=late)

    def save(self, flush: bool = True) -> None:
        """Replaces the file as a whole; without `flush` a power cut may leave it empty, and rows are counted anew."""
        arrays, scalars = self.state()
        with replacing(self._path, flush=flush) as new, new.open("wb") as file:
            np.savez(file, total=self._replay.total, **scalars, **arrays)
        self._saved, self._saved_at = self._replay.total, time.monotonic()

    def _load(self) -> int:
        """Arrival number up to which rows are counted; 0 where the file is damaged, or of other sensors or rows."""
        if not self._path.exists():
            return 0
        try:
            with np.load(self._path) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # a damaged file makes its reader raise anything
            log.warning("%s is damaged (%s): statistics are worked out anew from the rows", self._path, error)
            return 0
        names = {*self.state()[0], "total", "count"}
        if names != set(arrays) or arrays["total"] > self._replay.total:
            return 0
        self.restore(arrays, {"count": int(arrays["count"])})
        return int(arrays["total"])
