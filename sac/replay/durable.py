"""A replay that survives `kill -9`: its ring lies in a memory-mapped file.

The order of the stores of an insert makes it so: first the stamps of the places that it takes, which mark the old rows
there as lost; then rows and links; then priorities; and last one store that commits all of them, after which the caller
may acknowledge the rows. A power cut can still lose rows: only `flush` brings the pages to the disk.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sac.replay.durable_sampler import DurableSampler
from sac.replay.layout import columns
from sac.replay.mmap_file import map_arrays
from sac.replay.replay import READ_CHUNK_ROWS, Replay
from sac.replay.ring import LINKS, NO_ROW, Columns, Ring
from sac.replay.sampler import Sampler
from sac.replay.writer import StreamKey
from sac.types import Spec, Step

# The source that sent a row, its stream and chunk numbers there, and whether the row held an action at first: it may
# have become a final row later.
ORIGIN: Columns = {"source": ((), "int64"), "stream": ((), "int64"), "seq": ((), "int64"), "acted": ((), "bool")}
# The arrival number of the row that was last begun at a place, and its priority.
KEPT: Columns = {"stamp": ((), "int64"), "priority": ((), "float64")}
# Numbers that change together have two slots: `_commit` fills the inactive one, then one store of `slot` swaps them. So
# they are consistent whenever the process dies.
COMMITTED = ("total", "transitions", "silent")
HEADER: Columns = {
    "slot": ((1,), "int64"),
    **dict.fromkeys(COMMITTED, ((2,), "int64")),
    **dict.fromkeys(("draws", "drawn", "end"), ((1,), "int64")),
    "largest": ((1,), "float64"),
}


class StampedRing(Ring):
    """A ring that stamps places before it overwrites them, so that half-written rows are not taken for old ones."""

    def __init__(self, columns: Columns, capacity: int, arrays: Mapping[str, np.ndarray]):
        super().__init__(columns, capacity, arrays)
        self.stamp = arrays["stamp"]

    def append(self, rows: Mapping[str, np.ndarray], prev: np.ndarray, final: np.ndarray) -> np.ndarray:
        numbers = np.arange(self.total, self.total + len(prev))
        self.stamp[numbers % self.capacity] = numbers
        return super().append(rows, prev, final)


class DurableReplay(Replay):
    """A Replay in files that many sources fill with numbered chunks; each source numbers its own streams.

    A source is a random 63-bit number for one start of one actor. Rows given to `add` have source 0.
    """

    _ring: StampedRing
    _memory: mmap.mmap | None
    _arrays: dict[str, np.ndarray]

    def __init__(
        self,
        spec: Spec,
        state_size: int,
        sampler: Sampler,
        folder: Path,
        *,
        steps: int,
        burn_in: int = 0,
        seed: int = 0,
    ):
        """Continues with the rows in `folder`, which one process at a time may have open.

        Raises UserError when these do not fit this run, or when memory or disk is too small.
        """
        self._folder = folder
        super().__init__(spec, state_size, sampler, steps=steps, burn_in=burn_in, seed=seed)
        self._sampler = DurableSampler(sampler, self._arrays["priority"])
        self._recover()

    @staticmethod
    def bytes(spec: Spec, state_size: int, sampler: Sampler) -> int:
        """Memory in bytes of a full replay; all of it except the sampler's is page cache."""
        stored = {**columns(spec, state_size), **ORIGIN, **KEPT}
        return Ring.bytes(stored, sampler.capacity) + sampler.bytes(sampler.capacity)

    @property
    def total(self) -> int:
        """Number of rows that ever arrived, which is the next arrival number."""
        return self._ring.total

    def add(self, step: Step) -> int:
        """`add_from` source 0 with the next chunk number; returns how many rows hold an action."""
        before = self.transitions
        if len(step.stream):
            self.add_from(0, self.acked(0) + 1, step)
        return self.transitions - before

    def add_from(self, source: int, seq: int, step: Step) -> int | None:
        """Commits chunk `seq` = 1, 2, ... of a source; returns the arrival number of its first row.

        Returns None, and stores nothing, where the chunk was committed before. Raises ValueError, with nothing stored
        and `seq` still free, for an empty chunk, a column of a wrong shape and a row that follows the end of its
        episode.
        """
        if seq <= self.acked(source):
            return None
        rows, k, first = self._rows(step), len(step.stream), self.total
        if not k:
            raise ValueError("a chunk without rows cannot be remembered")
        origin = {"source": np.full(k, source, np.int64), "stream": step.stream, "seq": np.full(k, seq, np.int64)}
        self.transitions += self._insert(step.stream, {**rows, **origin, "acted": ~rows["last"]}, source)
        self._ledger.pop(source, None)
        self._ledger[source] = seq, self.total - 1
        self._forget_sources()
        self._commit()
        return first

    def add_foreign(self, step: Step) -> int:
        """`add` for rows whose `log_prob` means nothing."""
        transitions = super().add_foreign(step)
        self._commit()
        return transitions

    def acked(self, source: int) -> int:
        """The number of the newest committed chunk of a source; 0 when none of its rows is live."""
        return self._ledger.get(source, (0, 0))[0]

    def close_source(self, source: int) -> int:
        """Ends the open episodes of a source, whose actor has died, as truncations; returns how many."""
        return self._close([key for key in self._writer.open if isinstance(key, tuple) and key[0] == source])

    def close_open_streams(self, streams: Iterable[int] | None = None) -> int:
        """Ends open episodes (all of all sources, or `streams` of source 0) as truncations; returns how many."""
        return self._close(None if streams is None else [(0, int(stream)) for stream in streams])

    def arrived(self, since: int = 0, chunk: int = READ_CHUNK_ROWS) -> Iterator[Step]:
        """Live rows from arrival number `since` on, with `last` as it was when they arrived; `chunk` rows at a time."""
        for first in range(max(since, self._ring.oldest), self.total, chunk):
            places = np.arange(first, min(first + chunk, self.total)) % self.capacity
            yield self._step(places)._replace(last=~self._ring.columns["acted"][places])

    def draw(self, batch_size: int, batches: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = super().draw(batch_size, batches)
        self._store_draws()
        return drawn

    def update(self, index: np.ndarray, td_error: np.ndarray) -> None:
        super().update(index, td_error)
        self._store_draws()

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """As of Replay, which can restore it.

        Open episodes get new stream numbers, because streams of two sources may have the same number.
        """
        arrays, scalars = super().state()
        arrays["open/stream"] = np.arange(len(arrays["open/newest"]))
        return arrays, {**scalars, "transitions": self.transitions}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        """As of Replay, whose `state` is accepted too. Until this returns, the files hold an empty replay."""
        self._ring.total = self._ring.floor = self.transitions = 0
        self._commit()
        column = self._ring.columns
        unknown = {name: np.zeros(len(arrays["last"]), dtype) for name, (_, dtype) in ORIGIN.items()}
        super().restore({**unknown, "acted": ~arrays["last"], **arrays}, scalars)
        ring = self._ring
        if "source" not in arrays:
            for stream, recent in self._writer.open.items():
                column["stream"][recent[-1] % self.capacity] = stream  # of other rows it is never read
        ring.stamp[:] = NO_ROW
        numbers = np.arange(ring.oldest, ring.total)
        ring.stamp[numbers % self.capacity] = numbers
        acted = int(np.count_nonzero(column["acted"][numbers % self.capacity]))
        self.transitions = scalars.get("transitions", acted)
        self._store_draws()
        self._commit()
        self._recover()

    def flush(self) -> None:
        """Brings everything to the disk, so that a power cut loses nothing stored until now."""
        if self._memory is not None:
            self._store_draws()
            self._memory.flush()

    def close(self) -> None:
        """Flushes and releases the files, which are unmapped with the last view of them; may be called twice."""
        self.flush()
        if self._memory is not None:
            self._memory = None
            del self._arrays, self._ring, self._sampler

    def _make_ring(self) -> StampedRing:
        stored = {**self._columns, **ORIGIN}
        self._memory, self._arrays = map_arrays(self._folder, HEADER, {**stored, **LINKS, **KEPT}, self.capacity)
        return StampedRing(stored, self.capacity, self._arrays)

    def _commit(self) -> None:
        """Commits all stores so far."""
        slot = 1 - int(self._arrays["slot"][0])
        for name, value in zip(COMMITTED, (self.total, self.transitions, self._log_prob_unknown)):
            self._arrays[name][slot] = value
        self._arrays["slot"][0] = slot

    def _store_draws(self) -> None:
        """Stores the state of the random numbers. After a crash the newest batch may be drawn again, without harm."""
        scalars = self._sampler.state(0)[1]
        self._arrays["draws"][0] = self._draws
        for name in ("drawn", "end"):
            self._arrays[name][0] = scalars.get(name, 0)
        largest = scalars.get("largest")
        self._arrays["largest"][0] = np.nan if largest is None else largest

    def _forget_sources(self) -> None:
        """Removes sources without live rows; the source whose newest row is the oldest comes first."""
        while self._ledger and next(iter(self._ledger.values()))[1] < self._ring.oldest:
            del self._ledger[next(iter(self._ledger))]

    def _recover(self) -> None:
        """Rebuilds from the files all that is held in memory only, whatever the killed process was doing."""
        ring, column, arrays = self._ring, self._ring.columns, self._arrays
        slot = int(arrays["slot"][0])
        ring.total, self.transitions, self._log_prob_unknown = (int(arrays[name][slot]) for name in COMMITTED)
        ring.floor = 0
        if not ring.total:
            self._store_draws()  # a new file holds zeros, which are not the sampler's values

        numbers = np.arange(ring.oldest, ring.total)
        torn = np.flatnonzero(ring.stamp[numbers % self.capacity] != numbers)
        if len(torn):  # these are the oldest rows: a chunk that was never committed had begun to overwrite them
            ring.floor = int(numbers[torn[-1]]) + 1
            numbers = numbers[torn[-1] + 1 :]
        places = numbers % self.capacity
        column["next"][places[column["next"][places] >= ring.total]] = NO_ROW  # links to rows of that chunk

        newest = numbers[column["next"][places] == NO_ROW]
        final = column["last"][newest % self.capacity]
        self._make_final(newest[final])  # the killed process was closing them
        newest = newest[~final]
        heads = newest % self.capacity
        streams: list[StreamKey] = list(zip(column["source"][heads].tolist(), column["stream"][heads].tolist()))
        self._writer.restore(streams, newest, ring, column["discount"])

        source, seq = column["source"][places], column["seq"][places]
        latest = len(source) - 1 - np.unique(source[::-1], return_index=True)[1]
        self._ledger = {int(source[i]): (int(seq[i]), int(numbers[i])) for i in np.sort(latest)}

        largest = float(arrays["largest"][0])
        scalars: dict[str, Any] = {name: int(arrays[name][0]) for name in ("drawn", "end")}
        scalars["largest"] = None if np.isnan(largest) else largest
        self._draws = int(arrays["draws"][0])
        everywhere = np.arange(self.capacity)
        self._sampler.restore(ring.legal(self.steps), everywhere, {"priority": arrays["priority"]}, scalars)
