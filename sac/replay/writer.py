"""Keeps each stream in order: which row came before, and whose window is complete now."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise, repeat

import numpy as np

from sac.replay.ring import NONE, Ring

UNUSUAL = 1024  # open streams from which on those are looked for whose rows are all overwritten
FEW = 16  # rows up to which plain Python is faster than NumPy: a step of so many agents
SHORT = 4  # rows of an episode in a chunk, on average, up to which it is


class Writer:
    """Remembers the last T rows of every open episode.

    A stream is called by its number, or by source and number where there are many sources.
    """

    def __init__(self, steps: int):
        self.steps = steps  # T
        self.open: dict[Hashable, deque[int]] = {}  # stream -> arrival numbers of its newest rows, oldest first
        self.terminated: set[Hashable] = set()  # streams whose newest row was a true end: only a final row may follow
        self._tidy_at = UNUSUAL

    def check(self, stream: np.ndarray, source: int | None, discount: np.ndarray, last: np.ndarray) -> None:
        """Raises ValueError, before anything changed, where a row comes after the end of its episode."""
        if discount.all() and not self.terminated:
            return
        terminated = set(self.terminated)
        for name, alive, final in zip(_names(stream, source), discount.tolist(), last.tolist()):
            if name in terminated and not final:
                raise ValueError(f"stream {name}: discount 0 ends an episode, but its final observation never came")
            terminated.discard(name)
            if not alive and not final:
                terminated.add(name)
        self.terminated = terminated

    def place(
        self, stream: np.ndarray, source: int | None, last: np.ndarray, first: int, capacity: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Takes k rows that will get the arrival numbers first, first + 1, ...

        Returns the number of the row before each (NONE at a beginning) [k], and the rows that became legal starts
        (some of them perhaps overwritten by this very chunk), in that order within a stream.
        """
        if len(self.open) > self._tidy_at:
            self._forget_overwritten(first - capacity)
        if len(stream) > FEW:
            order = np.argsort(stream, kind="stable")
            inside = stream[order[1:]] == stream[order[:-1]]
            inside &= ~last[order[:-1]]  # the row before is of the same stream and episode
            cuts = np.flatnonzero(~inside) + 1
            if SHORT * (len(cuts) + 1) < len(stream):
                return self._by_episode(order, [0, *cuts.tolist(), len(stream)], stream, source, last, first, capacity)
        before, legal = [], []
        for number, (name, final) in enumerate(zip(_names(stream, source), last.tolist()), first):
            recent = self._recent(name, number - capacity)
            before.append(recent[-1] if recent else NONE)
            if final:
                legal += recent  # the final row stands in for all successors that are missing
                del self.open[name]
            else:
                if len(recent) == self.steps:
                    legal.append(recent[0])
                recent.append(number)
        return np.array(before, np.int64), np.array(legal, np.int64)

    def _by_episode(
        self, order: np.ndarray, cuts: list[int], stream: np.ndarray, source: int | None, last: np.ndarray, first: int,
        capacity: int,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """`place` for rows `order` [k], which is cut where an episode begins or goes on."""
        numbers, before, legal = (order + first).tolist(), [], []
        heads = order[cuts[:-1]]
        tails = order[np.array(cuts[1:]) - 1]
        for name, final, (start, end) in zip(_names(stream[heads], source), last[tails].tolist(), pairwise(cuts)):
            recent = self._recent(name, numbers[start] - capacity)
            rows = [*recent, *numbers[start:end]]
            before += rows[len(recent) - 1 : -1] if recent else [NONE, *rows[:-1]]
            if final:
                legal += rows[:-1]
                del self.open[name]
            else:
                legal += rows[: -self.steps]
                recent.extend(rows[len(recent) :])
        placed = np.empty(len(order), np.int64)
        placed[order] = before
        return placed, np.array(legal, np.int64)

    def _recent(self, name: Hashable, gone: int) -> deque[int]:
        """The newest rows of a stream; none where the newest one is `gone` or older, for then it begins afresh."""
        recent = self.open.get(name)
        if recent is None or recent[-1] <= gone:
            recent = self.open[name] = deque(maxlen=self.steps)
        return recent

    def _forget_overwritten(self, oldest: int) -> None:
        """Streams that never went on: whoever names a new one with each row would fill the memory."""
        self.open = {name: recent for name, recent in self.open.items() if recent[-1] >= oldest}
        self.terminated &= self.open.keys()
        self._tidy_at = max(UNUSUAL, 2 * len(self.open))

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


def _names(stream: np.ndarray, source: int | None) -> Sequence[Hashable]:
    return stream.tolist() if source is None else list(zip(repeat(source), stream.tolist()))
