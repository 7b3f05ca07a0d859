"""A ring buffer of the rows of all streams, in which each row links to the rows before and after it in its stream."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Columns = Mapping[str, tuple[tuple[int, ...], str]]  # name -> (shape, dtype) of one row
LINKS: Columns = {"next": ((), "int64"), "prev": ((), "int64")}
NO_ROW = -1  # in place of an arrival number: a link that leads nowhere


class Ring:
    """Preallocated columns. The newest `capacity` rows are live, except for those below `floor`.

    Each row has an *arrival number*, which is never used again; its *place* in the columns is `number % capacity`.
    Links hold arrival numbers, so comparing a link with `oldest` tells whether the row that it leads to is still live.
    """

    def __init__(self, columns: Columns, capacity: int, arrays: Mapping[str, np.ndarray] | None = None):
        """`arrays` [capacity, ...], which may include the links, are used in place of new ones.

        Raises ValueError when a column has the name of a link.
        """
        if clash := LINKS.keys() & columns.keys():
            raise ValueError(f"column names {sorted(clash)} are taken by the links")
        self.capacity = capacity
        self.total = 0  # rows that ever arrived: the next arrival number
        self.floor = 0  # rows below this arrival number were lost, although the ring has place for them
        arrays = arrays or {}
        self.columns = {
            name: arrays[name] if name in arrays else np.zeros((capacity, *shape), dtype)
            for name, (shape, dtype) in {**columns, **LINKS}.items()
        }
        self.next, self.prev = self.columns["next"], self.columns["prev"]
        self._held = [(name, column) for name, column in self.columns.items() if column.size]  # those of width > 0

    @staticmethod
    def bytes(columns: Columns, capacity: int) -> int:
        """Memory in bytes of a ring."""
        row = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in {**columns, **LINKS}.values())
        return row * capacity

    @property
    def oldest(self) -> int:
        """Arrival number of the oldest live row."""
        return max(self.floor, self.total - self.capacity)

    @property
    def extent(self) -> int:
        """Number of places that were ever written: the first ones."""
        return min(self.total, self.capacity)

    def __len__(self) -> int:
        return self.total - self.oldest

    def append(self, rows: Mapping[str, np.ndarray], prev: np.ndarray, final: np.ndarray) -> np.ndarray:
        """Stores k rows and links them; returns their places [k].

        `prev` [k] holds the arrival numbers of the rows before them in their streams, which may be rows of the same
        call, or NO_ROW. `final` [k] marks the final rows of episodes, which link to themselves. Raises ValueError when
        k is larger than the capacity.
        """
        k = len(prev)
        if k > self.capacity:
            raise ValueError(f"{k} rows do not fit a ring of {self.capacity}")
        numbers = np.arange(self.total, self.total + k)
        start = self.total % self.capacity
        fits = min(k, self.capacity - start)
        rows = {**rows, "next": np.where(final, numbers, NO_ROW), "prev": prev}
        for name, column in self._held:
            if fits == k:
                column[start : start + k] = rows[name]
            else:
                column[start:], column[: k - fits] = rows[name][:fits], rows[name][fits:]
        self.total += k
        linked = prev >= self.oldest  # other rows before were overwritten by these rows
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
        """Arrival numbers of the `steps` rows before `numbers`, oldest first [..., steps], and whether each is real.

        Where the episode began later or rows are no longer live, the oldest real row is repeated; real [..., steps] is
        false there.
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
        if not column.size:  # of width 0, as a mask without discrete actions: `take` would waste time
            return np.empty((*places.shape, *column.shape[1:]), column.dtype) if out is None else out
        return column.take(places, axis=0, out=out, mode="clip")  # mode "raise" would copy once more

    def legal(self, steps: int) -> np.ndarray:
        """Places of all rows that hold an action and have `steps` successors, found by following the links."""
        start = np.arange(self.oldest, self.total)
        start = start[self.next[start % self.capacity] != start]
        row = start
        for _ in range(steps):
            row = self.next[row % self.capacity]
            start, row = start[row != NO_ROW], row[row != NO_ROW]
        return start % self.capacity

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Views (not copies) of the columns [extent, ...], and the numbers that tell which rows are live."""
        arrays = {name: column[: self.extent] for name, column in self.columns.items()}
        return arrays, {"total": self.total, "capacity": self.capacity, "floor": self.floor}

    def restore(
        self, arrays: Mapping[str, np.ndarray], total: int, capacity: int, floor: int = 0
    ) -> tuple[np.ndarray, int]:
        """Fills the ring from `state`. With another capacity, the newest rows that fit are numbered again from 0.

        Returns the place that each row has in `arrays` [extent], and the difference of its old and new arrival number.
        """
        same = capacity == self.capacity
        shift = 0 if same else max(floor, total - min(capacity, self.capacity))
        self.total, self.floor = total - shift, floor if same else 0
        size = self.extent
        source = (self.number(np.arange(size)) + shift) % capacity
        for name, column in self.columns.items():
            column[:size] = arrays[name] if same else arrays[name][source]
        for link in (self.next, self.prev):
            link[:size] = np.maximum(link[:size] - shift, NO_ROW)
        return source, shift
