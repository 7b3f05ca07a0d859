"""Every window once, as soon as it is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np


class Fifo:
    """Hands out the places that became legal since they were last asked for, in that order; nothing is random.

    `replay.sample(newcomers.count)`, where `replay.ready`, is all of them. Plain Python on purpose: they are few.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._waiting: dict[int, None] = {}  # places, the first come first: a set that keeps its order

    @staticmethod
    def bytes(capacity: int) -> int:
        return 100 * capacity  # if nobody ever asks: an entry of the dictionary and its number

    @property
    def count(self) -> int:
        """Of legal places that were not handed out yet."""
        return len(self._waiting)

    def legal(self) -> np.ndarray:
        """Places that wait, the first come first."""
        return np.fromiter(self._waiting, np.int64, self.count)

    def admit(self, places: np.ndarray) -> None:
        """These rows [n] became legal starts."""
        self._waiting.update(dict.fromkeys(places.tolist()))

    def drop(self, places: np.ndarray) -> None:
        """These rows [n] were overwritten."""
        for place in places.tolist():
            self._waiting.pop(place, None)

    def draw(self, batch_size: int, generators: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """The first places [K, B] and weights [K, B], all one. Raises ValueError when fewer than K * B wait."""
        shape = len(generators), batch_size
        if self.count < shape[0] * shape[1]:
            raise ValueError(f"{shape[0]} x {shape[1]} new windows were asked for, {self.count} wait")
        places = np.array(list(islice(self._waiting, shape[0] * shape[1])), np.int64)
        self.drop(places)
        return places.reshape(shape), np.ones(shape, np.float32)

    def update(self, places: np.ndarray, td_error: np.ndarray) -> None:
        """Nothing to learn from errors."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict]:
        """Each place's turn [size], -1 where it waits no longer."""
        turn = np.full(size, -1)
        turn[self.legal()] = np.arange(self.count)
        return {"turn": turn}, {}

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping
    ) -> None:
        """Those of the legal places [n] wait that did when saved; all of them, if another sampler saved them.

        `source` tells where each place lay then.
        """
        turn = arrays["turn"][source[legal]] if "turn" in arrays else np.arange(len(legal))
        order = np.argsort(turn)
        self._waiting = dict.fromkeys(legal[order][turn[order] >= 0].tolist())
