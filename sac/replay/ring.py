"""The linked ring: rows of all streams in arrival order, each pointing to its own stream's neighbours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Columns = Mapping[str, tuple[tuple[int, ...], str]]
LINKS: Columns = {"next": ((), "int64"), "prev": ((), "int64")}
NONE = -1  # a link that leads nowhere; never live


class Ring:
    """Preallocated columns; the newest `capacity` rows are live, but for those below `floor`.

    A row is named by its *arrival number*, which counts up for ever; its place is `number % capacity`. Links hold
    arrival numbers too, so one comparison with `oldest` tells whether a link still leads to the row it was made for.
    """

    def __init__(self, columns: Columns, capacity: int, arrays: Mapping[str, np.ndarray] | None = None):
        """`arrays` [capacity, ...], links among them, are used in place of new ones."""
        if clash := LINKS.keys() & columns.keys():
            raise ValueError(f"column names {sorted(clash)} are taken by the links")
        self.capacity = capacity
        self.total = 0  # rows that ever arrived: the next arrival number
        self.floor = 0  # rows below this arrival number were lost before their time
        arrays = arrays or {}
        self.columns = {
            name: arrays[name] if name in arrays else np.zeros((capacity, *shape), dtype)
            for name, (shape, dtype) in {**columns, **LINKS}.items()
        }
        self.next, self.prev = self.columns["next"], self.columns["prev"]
        self._held = [(name, column) for name, column in self.columns.items() if column.size]  # not of width 0

    @staticmethod
    def bytes(columns: Columns, capacity: int) -> int:
        """Memory of a ring before it is made."""
        row = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in {**columns, **LINKS}.values())
        return row * capacity

    @property
    def oldest(self) -> int:
        """Arrival number of the oldest live row."""
        return max(self.floor, self.total - self.capacity)

    @property
    def extent(self) -> int:
        """Places from here on were never written."""
        return min(self.total, self.capacity)

    def __len__(self) -> int:
        return self.total - self.oldest

    def append(self, rows: Mapping[str, np.ndarray], prev: np.ndarray, final: np.ndarray) -> np.ndarray:
        """Stores k rows and links them; returns the places [k] they took.

        `prev` [k] holds arrival numbers of the rows before (earlier rows of the same call included) or NONE,
        `final` [k] marks rows that point to themselves.
        """
        k = len(prev)
        if k > self.capacity:
            raise ValueError(f"{k} rows do not fit a ring of {self.capacity}")
        numbers = np.arange(self.total, self.total + k)
        start = self.total % self.capacity
        fits = min(k, self.capacity - start)
        rows = {**rows, "next": np.where(final, numbers, NONE), "prev": prev}
        for name, column in self._held:
            if fits == k:
                column[start : start + k] = rows[name]
            else:
                column[start:], column[: k - fits] = rows[name][:fits], rows[name][fits:]
        self.total += k
        linked = prev >= self.oldest  # a row that these very rows have overwritten must not be touched
        self.next[prev[linked] % self.capacity] = numbers[linked]
        return numbers % self.capacity

    def number(self, places: np.ndarray) -> np.ndarray:
        """Arrival numbers of the rows that live at `places`."""
        newest = self.total - 1
        return newest - (newest - places) % self.capacity

    def forward(self, numbers: np.ndarray, steps: int) -> np.ndarray:
        """Places [..., steps + 1] along `next` from legal starts `numbers` [...]; final rows repeat themselves."""
        windows = np.empty((*numbers.shape, steps + 1), np.int64)
        windows[..., 0] = places = numbers % self.capacity
        for t in range(steps):
            windows[..., t + 1] = places = self.next[places] % self.capacity
        return windows

    def backward(self, numbers: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The `steps` rows before `numbers`, oldest first [..., steps], and which of them are real [..., steps].

        The walk ends where the episode began or where rows are no longer live; the oldest real row is then repeated.
        """
        windows = np.empty((*numbers.shape, steps), np.int64)
        real = np.empty(windows.shape, bool)
        for t in reversed(range(steps)):
            before = self.prev[numbers % self.capacity]
            real[..., t] = before >= self.oldest
            numbers = windows[..., t] = np.where(real[..., t], before, numbers)
        return windows, real

    def gather(self, name: str, places: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """A column's rows at `places` [...], as [..., *shape]; into `out` where that is given."""
        column = self.columns[name]
        if not column.size:  # of width 0, as a mask without discrete actions: five of them would cost as much as obs
            return np.empty((*places.shape, *column.shape[1:]), column.dtype) if out is None else out
        return column.take(places, axis=0, out=out, mode="clip")  # "raise" would copy once more into `out`

    def legal(self, steps: int) -> np.ndarray:
        """Places of all rows that hold an action and have `steps` successors: the rule itself, O(rows * steps)."""
        start = np.arange(self.oldest, self.total)
        start = start[self.next[start % self.capacity] != start]
        row = start
        for _ in range(steps):
            row = self.next[row % self.capacity]
            start, row = start[row != NONE], row[row != NONE]
        return start % self.capacity

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Views (not copies) of all places written [extent], and the three numbers that place the live rows."""
        arrays = {name: column[: self.extent] for name, column in self.columns.items()}
        return arrays, {"total": self.total, "capacity": self.capacity, "floor": self.floor}

    def restore(
        self, arrays: Mapping[str, np.ndarray], total: int, capacity: int, floor: int = 0
    ) -> tuple[np.ndarray, int]:
        """Fills the ring from `state`; into another capacity go the newest rows, counted anew from 0.

        Returns for each row, by place, where it lay in `arrays` [extent], and by how much its number fell.
        """
        same = capacity == self.capacity
        shift = 0 if same else max(floor, total - min(capacity, self.capacity))
        self.total, self.floor = total - shift, floor if same else 0
        size = self.extent
        source = (self.number(np.arange(size)) + shift) % capacity
        for name, column in self.columns.items():
            column[:size] = arrays[name] if same else arrays[name][source]
        for link in (self.next, self.prev):
            link[:size] = np.maximum(link[:size] - shift, NONE)
        return source, shift
