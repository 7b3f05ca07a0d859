"""The replay that a kill -9 cannot hurt: its ring lies in a memory-mapped file.

The order of stores makes it so. Of an insert: the stamps of the places it takes, which tells that the old rows are
gone; rows and links; priorities; and at last one store that makes it all count, after which the caller may
acknowledge. A power cut is another matter: only `flush` brings the pages to the disk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from sac.replay.mmap_file import map_arrays
from sac.replay.replay import Replay, Sampler, columns
from sac.replay.ring import LINKS, NONE, Columns, Ring
from sac.types import Spec, Step

# Who sent a row, and whether it held an action then (it may have been made a final one since).
ORIGIN: Columns = {"source": ((), "int64"), "stream": ((), "int64"), "seq": ((), "int64"), "acted": ((), "bool")}
# The arrival number of the row that was last begun at a place, and what the sampler thinks of it.
KEPT: Columns = {"stamp": ((), "int64"), "priority": ((), "float64")}
# What changes with a commit comes twice: `commit` fills the slot that does not count, then one store of `slot` swaps
# them. So `total` and `transitions` are of one moment, whenever the process dies.
COMMITTED = ("total", "transitions", "silent")
HEADER: Columns = {
    "slot": ((1,), "int64"),
    **dict.fromkeys(COMMITTED, ((2,), "int64")),
    **dict.fromkeys(("draws", "drawn", "end"), ((1,), "int64")),
    "largest": ((1,), "float64"),
}


class StampedRing(Ring):
    """A ring that marks places before it overwrites them: what lay there is lost, whether or not the new row counts."""

    def __init__(self, columns: Columns, capacity: int, arrays: Mapping[str, np.ndarray]):
        super().__init__(columns, capacity, arrays)
        self.stamp = arrays["stamp"]

    def append(self, rows: Mapping[str, np.ndarray], prev: np.ndarray, final: np.ndarray) -> np.ndarray:
        numbers = np.arange(self.total, self.total + len(prev))
        self.stamp[numbers % self.capacity] = numbers
        return super().append(rows, prev, final)


class KeptSampler:
    """A sampler whose priorities, where it has any, are copied to `priority` [capacity] whenever they change."""

    def __init__(self, sampler: Sampler, priority: np.ndarray):
        self._sampler, self._priority = sampler, priority

    def __getattr__(self, name: str):
        return getattr(self._sampler, name)

    def admit(self, places: np.ndarray) -> None:
        self._sampler.admit(places)
        self._keep(places)

    def drop(self, places: np.ndarray) -> None:
        self._sampler.drop(places)
        self._keep(places)

    def update(self, places: np.ndarray, td_error: np.ndarray) -> None:
        self._sampler.update(places, td_error)
        self._keep(places)

    def restore(self, legal: np.ndarray, source: np.ndarray, arrays: Mapping, scalars: Mapping) -> None:
        self._sampler.restore(legal, source, arrays, scalars)
        self._keep(slice(None))

    def _keep(self, places: np.ndarray | slice) -> None:
        for array in self._sampler.state(len(self._priority))[0].values():  # one array or none
            self._priority[places] = array[places]


class DurableReplay(Replay):
    """A Replay in files, fed with numbered chunks by many sources, each of which numbers its own streams.

    A source is one life of an actor: a random 63-bit number. Source 0 is who calls `add`.
    """

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
        """Goes on with what `folder` holds. Raises UserError when that does not fit, and on too little memory or disk.

        One process at a time may have a folder open.
        """
        self._folder = folder
        super().__init__(spec, state_size, sampler, steps=steps, burn_in=burn_in, seed=seed)
        self._sampler = KeptSampler(sampler, self._arrays["priority"])
        self._recover()

    @staticmethod
    def bytes(spec: Spec, state_size: int, sampler: Sampler) -> int:
        """Memory that a replay takes in the end; all but the sampler's is page cache."""
        return Ring.bytes({**columns(spec, state_size), **ORIGIN, **KEPT}, sampler.capacity) + sampler.bytes(
            sampler.capacity
        )

    @property
    def total(self) -> int:
        """Rows that ever arrived: the next arrival number."""
        return self._ring.total

    def add(self, step: Step) -> int:
        """`add_from` source 0, without numbers."""
        before = self.transitions
        if len(step.stream):
            self.add_from(0, self.acked(0) + 1, step)
        return self.transitions - before

    def add_from(self, source: int, seq: int, step: Step) -> int | None:
        """Commits chunk `seq` = 1, 2, ... of a source; the arrival number of its first row, None if it is here already.

        Raises ValueError, with nothing stored and `seq` not taken, on an empty chunk, on a column of a wrong shape and
        on a row that follows the end of its episode.
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
        self._forget()
        self._commit()
        return first

    def add_foreign(self, step: Step) -> int:
        """`add` for rows whose `log_prob` means nothing."""
        transitions = super().add_foreign(step)
        self._commit()
        return transitions

    def acked(self, source: int) -> int:
        """The newest chunk committed of a source; 0 when none of its rows is live."""
        return self._ledger.get(source, (0, 0))[0]

    def close_source(self, source: int) -> int:
        """Ends the open episodes of a source as truncations, as its actor died; returns how many."""
        return self._close([name for name in self._writer.open if name[0] == source])

    def close_open_streams(self, streams: Iterable[int] | None = None) -> int:
        """Ends open episodes (all of all sources, or those named of source 0) as truncations; returns how many."""
        return self._close(None if streams is None else [(0, int(stream)) for stream in streams])

    def arrived(self, since: int = 0, chunk: int = 4096) -> Iterator[Step]:
        """Live rows from arrival number `since` on, an action where there was one at first, even if closed later."""
        for first in range(max(since, self._ring.oldest), self.total, chunk):
            places = np.arange(first, min(first + chunk, self.total)) % self.capacity
            yield self._step(places)._replace(last=~self._ring.columns["acted"][places])

    def draw(self, batch_size: int, batches: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = super().draw(batch_size, batches)
        self._note()
        return drawn

    def update(self, index: np.ndarray, td_error: np.ndarray) -> None:
        super().update(index, td_error)
        self._note()

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """As the parent's, which can restore it; open episodes are numbered there, for streams are not unique."""
        arrays, scalars = super().state()
        arrays["open/stream"] = np.arange(len(arrays["open/newest"]))
        return arrays, {**scalars, "transitions": self.transitions}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping) -> None:
        """As the parent's, also from a parent's `state`; until it returns the files hold an empty replay."""
        self._ring.total = self._ring.floor = self.transitions = 0
        self._commit()
        column = self._ring.columns
        strangers = {name: np.zeros(len(arrays["last"]), dtype) for name, (_, dtype) in ORIGIN.items()}
        super().restore({**strangers, "acted": ~arrays["last"], **arrays}, scalars)
        ring = self._ring
        if "source" not in arrays:
            for stream, recent in self._writer.open.items():
                column["stream"][recent[-1] % self.capacity] = stream  # only the newest rows' are ever asked for
        ring.stamp[:] = NONE
        numbers = np.arange(ring.oldest, ring.total)
        ring.stamp[numbers % self.capacity] = numbers
        acted = int(np.count_nonzero(column["acted"][numbers % self.capacity]))
        self.transitions = scalars.get("transitions", acted)
        self._note()
        self._commit()
        self._recover()

    def flush(self) -> None:
        """Brings everything to the disk, for the day of a power cut."""
        if self._arrays:
            self._note()
            self._memory.flush()

    def close(self) -> None:
        """Flushes and lets go of the files, which are unmapped with the last view of them; may be called twice."""
        self.flush()
        self._arrays, self._ring, self._sampler, self._memory = {}, None, None, None

    def _make_ring(self) -> Ring:
        stored = {**self._columns, **ORIGIN}
        self._memory, self._arrays = map_arrays(self._folder, HEADER, {**stored, **LINKS, **KEPT}, self.capacity)
        return StampedRing(stored, self.capacity, self._arrays)

    def _commit(self) -> None:
        """Everything stored so far counts from now on."""
        slot = 1 - int(self._arrays["slot"][0])
        for name, value in zip(COMMITTED, (self.total, self.transitions, self._log_prob_unknown)):
            self._arrays[name][slot] = value
        self._arrays["slot"][0] = slot

    def _note(self) -> None:
        """Where the randomness stands; a batch may be drawn twice after a crash, which does no harm."""
        scalars = self._sampler.state(0)[1]
        self._arrays["draws"][0] = self._draws
        for name in ("drawn", "end"):
            self._arrays[name][0] = scalars.get(name, 0)
        largest = scalars.get("largest")
        self._arrays["largest"][0] = np.nan if largest is None else largest

    def _forget(self) -> None:
        """Drops sources without live rows: the one that has been silent longest stands first."""
        while self._ledger and next(iter(self._ledger.values()))[1] < self._ring.oldest:
            del self._ledger[next(iter(self._ledger))]

    def _recover(self) -> None:
        """Works out from the files, whatever was under way when they were left, all that is held in memory only."""
        ring, column, arrays = self._ring, self._ring.columns, self._arrays
        slot = int(arrays["slot"][0])
        ring.total, self.transitions, self._log_prob_unknown = (int(arrays[name][slot]) for name in COMMITTED)
        ring.floor = 0
        if not ring.total:
            self._note()  # in a new file zeros stand where the sampler may know nothing yet

        numbers = np.arange(ring.oldest, ring.total)
        torn = np.flatnonzero(ring.stamp[numbers % self.capacity] != numbers)
        if len(torn):  # always the oldest: a chunk that never counted had begun to overwrite them
            ring.floor = int(numbers[torn[-1]]) + 1
            numbers = numbers[torn[-1] + 1 :]
        places = numbers % self.capacity
        column["next"][places[column["next"][places] >= ring.total]] = NONE  # links into that chunk

        newest = numbers[column["next"][places] == NONE]
        final = column["last"][newest % self.capacity]
        self._make_final(newest[final])  # closing them had begun
        newest = newest[~final]
        heads = newest % self.capacity
        streams: list[Hashable] = list(zip(column["source"][heads].tolist(), column["stream"][heads].tolist()))
        self._writer.restore(streams, newest, ring, column["discount"])

        source, seq = column["source"][places], column["seq"][places]
        latest = len(source) - 1 - np.unique(source[::-1], return_index=True)[1]
        self._ledger = {int(source[i]): (int(seq[i]), int(numbers[i])) for i in np.sort(latest)}

        largest = float(arrays["largest"][0])
        scalars = {name: int(arrays[name][0]) for name in ("drawn", "end")}
        scalars["largest"] = None if np.isnan(largest) else largest
        self._draws = int(arrays["draws"][0])
        everywhere = np.arange(self.capacity)
        self._sampler.restore(ring.legal(self.steps), everywhere, {"priority": arrays["priority"]}, scalars)
