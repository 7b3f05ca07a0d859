"""The open episodes of all streams: finds the row before each new row, and the windows that are complete now."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat

import numpy as np

from sac.replay.ring import NO_ROW, Ring

StreamKey = int | tuple[int, int]  # a stream's number, or (source, number) where there are several sources
TIDY_ABOVE_STREAMS = 1024  # with more open streams, those whose rows are all overwritten are removed
FEW_ROWS = 16  # of a chunk: up to this many, plain Python is faster than NumPy
SHORT_EPISODE_ROWS = 4  # rows of one episode in a chunk, on average: up to this many, plain Python is faster


class Writer:
    """Remembers the arrival numbers of the last T rows of every open episode."""

    def __init__(self, steps: int):
        self.steps = steps  # T
        self.open: dict[StreamKey, deque[int]] = {}  # arrival numbers of the newest rows, oldest first
        self.terminated: set[StreamKey] = set()  # streams whose newest row has discount 0: a final row must follow
        self._tidy_at = TIDY_ABOVE_STREAMS

    def check(self, stream: np.ndarray, source: int | None, discount: np.ndarray, last: np.ndarray) -> None:
        """Raises ValueError where a row follows a row with discount 0 and is no final row; nothing has changed then."""
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
        """Takes in k rows that will have the arrival numbers `first`, `first` + 1, ...

        Returns the arrival number of the row before each (NO_ROW where an episode begins) [k], and the arrival numbers
        of the rows that became legal starts of windows, in order within each stream. Some of these may be overwritten
        by the chunk itself.
        """
        if len(self.open) > self._tidy_at:
            self._forget_overwritten(first - capacity)
        if len(stream) > FEW_ROWS:
            order = np.argsort(stream, kind="stable")
            inside = stream[order[1:]] == stream[order[:-1]]
            inside &= ~last[order[:-1]]  # whether the sorted row before is of the same episode
            cuts = np.flatnonzero(~inside) + 1
            if SHORT_EPISODE_ROWS * (len(cuts) + 1) < len(stream):
                return self._by_episode(order, [0, *cuts.tolist(), len(stream)], stream, source, last, first, capacity)
        before: list[int] = []
        legal: list[int] = []
        for number, (name, final) in enumerate(zip(_names(stream, source), last.tolist()), first):
            recent = self._recent(name, number - capacity)
            before.append(recent[-1] if recent else NO_ROW)
            if final:
                legal += recent  # the final row stands for all missing successors
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
        """`place` for rows sorted by stream, `order` [k]; between two `cuts` all rows are of one episode."""
        numbers: list[int] = (order + first).tolist()
        before: list[int] = []
        legal: list[int] = []
        heads = order[cuts[:-1]]
        tails = order[np.array(cuts[1:]) - 1]
        for name, final, (start, end) in zip(_names(stream[heads], source), last[tails].tolist(), pairwise(cuts)):
            recent = self._recent(name, numbers[start] - capacity)
            rows = [*recent, *numbers[start:end]]
            before += rows[len(recent) - 1 : -1] if recent else [NO_ROW, *rows[:-1]]
            if final:
                legal += rows[:-1]
                del self.open[name]
            else:
                legal += rows[: -self.steps]
                recent.extend(rows[len(recent) :])
        placed = np.empty(len(order), np.int64)
        placed[order] = before
        return placed, np.array(legal, np.int64)

    def _recent(self, name: StreamKey, overwritten: int) -> deque[int]:
        """The newest rows of a stream; none where the row `overwritten` or an older one is the newest."""
        recent = self.open.get(name)
        if recent is None or recent[-1] <= overwritten:
            recent = self.open[name] = deque(maxlen=self.steps)
        return recent

    def _forget_overwritten(self, oldest: int) -> None:
        """Removes open streams without live rows; a source with a new stream for each row would fill the memory."""
        self.open = {name: recent for name, recent in self.open.items() if recent[-1] >= oldest}
        self.terminated &= self.open.keys()
        self._tidy_at = max(TIDY_ABOVE_STREAMS, 2 * len(self.open))

    def close(self, streams: Iterable[StreamKey] | None = None) -> tuple[list[int], list[int]]:
        """Ends open episodes (all, or those of `streams`); returns their newest rows and the rows that became legal."""
        newest: list[int] = []
        legal: list[int] = []
        for name in list(self.open) if streams is None else streams:
            self.terminated.discard(name)
            if recent := self.open.pop(name, None):
                newest.append(recent.pop())
                legal += recent
        return newest, legal

    def state(self) -> dict[str, np.ndarray]:
        """Open streams and their newest rows; the other rows follow from the ring's links."""
        heads = {name: recent[-1] for name, recent in self.open.items()}
        return {"stream": np.array(list(heads), np.int64), "newest": np.array(list(heads.values()), np.int64)}

    def restore(self, streams: Sequence[StreamKey], newest: np.ndarray, ring: Ring, discount: np.ndarray) -> None:
        """Follows the links of a restored ring back from the newest rows [n]; `discount` [capacity] is its column."""
        past, real = ring.backward(newest, self.steps - 1)
        rows = zip(streams, newest.tolist(), past.tolist(), real.tolist())
        self.open = {
            name: deque([n for n, r in zip(before, is_real) if r] + [head], maxlen=self.steps)
            for name, head, before, is_real in rows
        }
        ended = discount[newest % ring.capacity] == 0
        self.terminated = {name for name, end in zip(streams, ended.tolist()) if end}


def _names(stream: np.ndarray, source: int | None) -> Sequence[StreamKey]:
    return stream.tolist() if source is None else list(zip(repeat(source), stream.tolist()))
