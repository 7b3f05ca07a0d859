"""The replay: `add` Steps, `sample` windows of them, `update` their priorities; `state` and `restore` save it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from sac.replay.capacity_check import check_memory
from sac.replay.layout import ACTION_COLUMNS, STATE_COLUMNS, columns
from sac.replay.ring import Ring
from sac.replay.rng import RandomStream
from sac.replay.sampler import Sampler
from sac.replay.writer import StreamKey, Writer
from sac.types import Batch, Spec, Step, obs_columns

READ_CHUNK_ROWS = 4096  # rows that `stored` reads at a time


class Replay:
    """Stores the rows of all streams in one ring and draws windows of `steps` = T steps.

    A window begins at its first trained row y. y is legal when it holds an action and has T successors, where a final
    row is its own successor. With `burn_in` = b a window has b more rows in front.
    """

    def __init__(
        self,
        spec: Spec,
        state_size: int,
        sampler: Sampler,
        *,
        steps: int,
        burn_in: int = 0,
        seed: int = 0,
    ):
        """Raises UserError when the machine has not enough memory for `sampler.capacity` rows."""
        if steps < 1 or burn_in < 0:
            raise ValueError(f"steps={steps} must be at least 1 and burn_in={burn_in} at least 0")
        self.capacity, self.steps, self.burn_in, self.seed = sampler.capacity, steps, burn_in, seed
        self.nbytes = self.bytes(spec, state_size, sampler)  # memory of the full replay
        check_memory(self.nbytes, self.capacity)
        self._columns = columns(spec, state_size)
        self._state_columns = [*obs_columns({sensor.name: sensor for sensor in spec.sensors}), *STATE_COLUMNS]
        self._ring = self._make_ring()
        self._writer = Writer(steps)
        self._sampler = sampler
        self._random = RandomStream()
        self._draws = 0  # batches drawn so far: with the seed, the whole state of the random numbers
        self._log_prob_unknown = 0  # the `log_prob` of rows below this arrival number means nothing

    @staticmethod
    def bytes(spec: Spec, state_size: int, sampler: Sampler) -> int:
        """Memory in bytes of a full replay."""
        return Ring.bytes(columns(spec, state_size), sampler.capacity) + sampler.bytes(sampler.capacity)

    def __len__(self) -> int:
        """Rows stored, final ones included."""
        return len(self._ring)

    @property
    def fill(self) -> float:
        """Share of the capacity that is in use."""
        return len(self) / self.capacity

    @property
    def ready(self) -> bool:
        """Whether a window can be drawn."""
        return self._sampler.count > 0

    @property
    def log_prob_known(self) -> bool:
        """Whether the `log_prob` of every row is right; it is not in rows of a foreign dataset."""
        return self._log_prob_unknown <= self._ring.oldest

    @property
    def legal(self) -> np.ndarray:
        """Arrival numbers [n] of all legal rows, ascending; takes time in proportion to the capacity."""
        return np.sort(self._ring.number(self._sampler.legal()))

    def metrics(self) -> dict[str, float]:
        return {"replay/rows": len(self), "replay/fill": self.fill, **self._sampler.metrics()}

    def add(self, step: Step) -> int:
        """Stores rows [k] in their order; returns how many of them hold an action.

        A stream may have several rows. Raises ValueError, with nothing stored, where a column has a wrong shape or
        dtype and where a row follows the end of its episode.
        """
        rows = self._rows(step)
        return self._insert(step.stream, rows) if len(step.stream) else 0

    def add_foreign(self, step: Step) -> int:
        """`add` for rows whose `log_prob` means nothing."""
        transitions = self.add(step)
        self._log_prob_unknown = self._ring.total
        return transitions

    def stored(self, chunk: int = READ_CHUNK_ROWS) -> Iterator[Step]:
        """All live rows in the order of their arrival, `chunk` rows at a time; all have the stream number 0."""
        for first in range(self._ring.oldest, self._ring.total, chunk):
            yield self._step(np.arange(first, min(first + chunk, self._ring.total)) % self.capacity)

    def close_open_streams(self, streams: Iterable[int] | None = None) -> int:
        """Ends open episodes (all, or those of `streams`) as truncations; returns how many.

        The outcome of the newest row's action was never stored, so this row becomes the final row.
        """
        return self._close(None if streams is None else map(int, streams))

    def sample(self, batch_size: int, batches: int | None = None) -> Batch:
        """Draws B windows: arrays [B, b + T (+ 1), ...], or [K, B, b + T (+ 1), ...] with K `batches`.

        Where an episode has fewer than b rows before y, its oldest live row is repeated with valid = 0, and `state` is
        the state of that row. `index` is the arrival number of y. Raises ValueError when not `ready`.
        """
        index, weight = self.draw(batch_size, 1 if batches is None else batches)
        return self.windows(index[0], weight[0]) if batches is None else self.windows(index, weight)

    def draw(self, batch_size: int, batches: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices [K, B] and weights [K, B] of K `batches`, for `windows`; the same as K draws of one batch.

        Raises ValueError when not `ready`.
        """
        if not self.ready:
            raise ValueError("the replay has no legal window yet: ask `ready` before sampling")
        generators = self._random.generators(self.seed, self._draws, batches)
        self._draws += batches
        places, weight = self._sampler.draw(batch_size, generators)
        return self._ring.number(places), weight

    def windows(self, index: np.ndarray, weight: np.ndarray, out: Mapping[str, np.ndarray] | None = None) -> Batch:
        """The windows that `draw` has drawn, as of `sample`; they are written into the columns `out`, where given."""
        ring, into = self._ring, out or {}
        rows = ring.forward(index, self.steps)
        if self.burn_in:
            before, real = ring.backward(index, self.burn_in)
            rows = np.concatenate([before % self.capacity, rows], axis=-1)
        acts = rows[..., :-1]
        valid = ~ring.gather("last", acts)
        if self.burn_in:
            valid[..., : self.burn_in] &= real

        def column(name: str, places: np.ndarray) -> np.ndarray:
            return ring.gather(name, places, into.get(name))

        def kept(name: str, array: np.ndarray) -> np.ndarray:
            if out is None:
                return array
            np.copyto(out[name], array)
            return out[name]

        return Batch.of({
            **{name: column(name, rows) for name in self._state_columns},
            **{name: column(name, acts) for name in ACTION_COLUMNS},
            "valid": kept("valid", valid.astype(np.float32)),
            "state": column("state", rows[..., 0]),
            "stored": ring.gather("state", rows[..., self.burn_in], into.get("stored")),
            "weight": kept("weight", weight),
            "index": kept("index", index),
        })  # fmt: skip

    def update(self, index: np.ndarray, td_error: np.ndarray) -> None:
        """Gives the sampler |delta| [B] or [K, B] of the windows `index` [B] or [K, B]; of duplicates the last counts.

        Rows that were overwritten meanwhile are skipped. Raises ValueError when an error is not finite.
        """
        index, td_error = np.asarray(index).ravel(), np.asarray(td_error).ravel()
        live = index >= self._ring.oldest
        self._sampler.update(index[live] % self.capacity, td_error[live])

    def refresh(self, index: np.ndarray, state: np.ndarray) -> None:
        """Overwrites the stored recurrent states [..., S] of those rows `index` [...] that are still live."""
        live = index >= self._ring.oldest
        self._ring.columns["state"][index[live] % self.capacity] = state[live]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Views of the live rows, which must be saved before the next `add`, and scalars ready for JSON."""
        arrays, numbers = self._ring.state()
        own, more = self._sampler.state(self._ring.extent)
        arrays |= {f"sampler/{name}": array for name, array in own.items()}
        arrays |= {f"open/{name}": array for name, array in self._writer.state().items()}
        draws = {"draws": self._draws, "seed": self.seed, "silent": self._log_prob_unknown, "sampler": more}
        return arrays, {**numbers, **draws}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        """Continues from `state`: bit for bit with the same settings, otherwise with the newest rows that fit.

        T, capacity and sampler may differ from the saved ones, because the legal rows are found by following the links.
        """
        ring = self._ring
        source, shift = ring.restore(arrays, scalars["total"], scalars["capacity"], scalars.get("floor", 0))
        newest = arrays["open/newest"] - shift
        live = newest >= ring.oldest
        self._writer.restore(arrays["open/stream"][live].tolist(), newest[live], ring, ring.columns["discount"])
        own = {name.removeprefix("sampler/"): a for name, a in arrays.items() if name.startswith("sampler/")}
        self._sampler.restore(ring.legal(self.steps), source, own, scalars["sampler"])
        self._draws, self.seed = scalars["draws"], scalars["seed"]
        self._log_prob_unknown = max(0, scalars.get("silent", 0) - shift)

    def take_over(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        """Fills an empty replay with the rows of another run's `state` as if they were new, and closes its episodes.

        Priorities, beta and random numbers of the other run are not taken over. Check the arrays with `fitted` first.
        """
        rows = {name: array for name, array in arrays.items() if not name.startswith("sampler/")}
        self.restore(rows, {**scalars, "draws": 0, "seed": self.seed, "sampler": {}})
        self.close_open_streams()

    def _make_ring(self) -> Ring:
        """The ring; a subclass may place it in a file."""
        return Ring(self._columns, self.capacity)

    def _insert(self, stream: np.ndarray, rows: Mapping[str, np.ndarray], source: int | None = None) -> int:
        """Stores checked rows [k] of the streams `stream` [k] of a source, k > 0; returns how many hold an action."""
        last, total = rows["last"], self._ring.total
        self._writer.check(stream, source, rows["discount"], last)
        before, legal = self._writer.place(stream, source, last, total, self.capacity)
        places = self._ring.append(rows, before, last)
        if total + len(last) > self.capacity:
            self._sampler.drop(places)
        self._admit(legal)
        return int(np.count_nonzero(~last))

    def _close(self, streams: Iterable[StreamKey] | None) -> int:
        """Ends open episodes as truncations; returns how many had a live row."""
        newest, legal = self._writer.close(streams)
        numbers = np.array(newest, np.int64)
        numbers = numbers[numbers >= self._ring.oldest]
        self._make_final(numbers)
        self._admit(np.array(legal, np.int64))
        return len(numbers)

    def _make_final(self, numbers: np.ndarray) -> None:
        """Turns rows [n] into final ones; a durable replay needs the store of `last` first and that of `next` last."""
        places, column = numbers % self.capacity, self._ring.columns
        column["last"][places] = True
        for name in ("continuous", "discrete", "log_prob", "reward"):
            column[name][places] = 0
        column["discount"][places] = 1
        column["next"][places] = numbers

    def _step(self, places: np.ndarray) -> Step:
        """The rows at `places` [k] as a Step of stream 0."""
        columns = {name: self._ring.gather(name, places) for name in self._columns}
        return Step.of({"stream": np.zeros(len(places), np.int64), **columns})

    def _rows(self, step: Step) -> dict[str, np.ndarray]:
        """The columns of a Step, after a check: NumPy would broadcast shapes and cast dtypes without an error."""
        rows = step.columns()
        k = len(step.stream)
        if k > self.capacity:
            raise ValueError(f"{k} rows do not fit a replay of {self.capacity}")
        if step.stream.shape != (k,) or step.stream.dtype.kind not in "iu":
            raise ValueError(f"streams are {step.stream.dtype} {step.stream.shape}, expected integers ({k},)")
        for name, (shape, _) in self._columns.items():
            row, dtype = rows[name], self._ring.columns[name].dtype
            if row.shape != (k, *shape):
                raise ValueError(f"column {name} has shape {row.shape}, expected {(k, *shape)}")
            if row.dtype != dtype and not np.can_cast(row.dtype, dtype, "same_kind"):
                raise ValueError(f"column {name} has dtype {row.dtype}, expected {dtype}")
        return rows

    def _admit(self, numbers: np.ndarray) -> None:
        """Tells the sampler which rows became legal, except those that are overwritten already."""
        live = numbers[numbers >= self._ring.oldest]
        if len(live):
            self._sampler.admit(live % self.capacity)
