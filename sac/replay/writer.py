"""Keeps each stream in order: which row came before, and whose window is complete now."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from sac.replay.ring import NONE, Ring


class Writer:
    """Remembers the last T rows of every open episode.

    Plain Python on purpose: a step of 1 to 16 agents costs less than the first NumPy call would.
    """

    def __init__(self, steps: int):
        self.steps = steps  # T
        self.open: dict[Hashable, deque[int]] = {}  # stream -> arrival numbers of its newest rows, oldest first
        self.terminated: set[Hashable] = set()  # streams whose newest row was a true end: only a final row may follow

    def check(self, streams: Sequence[Hashable], discount: np.ndarray, last: np.ndarray) -> None:
        """Raises ValueError, before anything changed, where a row comes after the end of its episode."""
        if discount.all() and not self.terminated:
            return
        terminated = set(self.terminated)
        for name, alive, final in zip(streams, discount.tolist(), last.tolist()):
            if name in terminated and not final:
                raise ValueError(f"stream {name}: discount 0 ends an episode, but its final observation never came")
            terminated.discard(name)
            if not alive and not final:
                terminated.add(name)
        self.terminated = terminated

    def place(
        self, streams: Sequence[Hashable], last: np.ndarray, first: int, capacity: int
    ) -> tuple[list[int], list[int]]:
        """Takes k rows that will get the arrival numbers first, first + 1, ...

        Returns the number of the row before each (NONE at a beginning) [k], and the rows that became legal starts
        (some of them perhaps overwritten by this very chunk).
        """
        before, legal = [], []
        for number, (name, final) in enumerate(zip(streams, last.tolist()), first):
            recent = self.open.get(name)
            if recent is None or recent[-1] <= number - capacity:  # a slow stream's newest row is gone: begin afresh
                recent = self.open[name] = deque(maxlen=self.steps)
            before.append(recent[-1] if recent else NONE)
            if final:
                legal += recent  # the final row stands in for all successors that are missing
                del self.open[name]
            else:
                if len(recent) == self.steps:
                    legal.append(recent[0])
                recent.append(number)
        return before, legal

    def close(self, streams: Iterable[Hashable] | None = None) -> tuple[list[int], list[int]]:
        """Ends open episodes (all, or those named) at their newest rows; returns these and the rows made legal."""
        newest, legal = [], []
        for name in list(self.open) if streams is None else streams:
            self.terminated.discard(name)
            if recent := self.open.pop(name, None):
                newest.append(recent.pop())
                legal += recent
        return newest, legal

    def state(self) -> dict[str, np.ndarray]:
        """Open streams and their newest rows; the ring's links hold the rest."""
        heads = {name: recent[-1] for name, recent in self.open.items()}
        return {"stream": np.array(list(heads), np.int64), "newest": np.array(list(heads.values()), np.int64)}

    def restore(self, streams: Sequence[Hashable], newest: np.ndarray, ring: Ring, discount: np.ndarray) -> None:
        """Walks back from the newest rows of a restored ring; `discount` [len] is its column."""
        past, real = ring.backward(newest, self.steps - 1)
        rows = zip(streams, newest.tolist(), past.tolist(), real.tolist())
        self.open = {
            name: deque([n for n, r in zip(before, is_real) if r] + [head], maxlen=self.steps)
            for name, head, before, is_real in rows
        }
        ended = discount[newest % ring.capacity] == 0
        self.terminated = {name for name, end in zip(streams, ended.tolist()) if end}
