"""A sampler that returns every window once, as soon as the window is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

BYTES_PER_PLACE = 100  # an entry of the dictionary and its key


class Fifo:
    """Draws the places that became legal since the last draw, in the order in which they did; nothing is random.

    `replay.sample(fifo.count)`, where `replay.ready`, returns all of their windows. Few places wait at a time, and for
    these plain Python is fast enough.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._waiting: dict[int, None] = {}  # places, first come first: a set that keeps its order

    @staticmethod
    def bytes(capacity: int) -> int:
        """Memory in bytes if all places wait."""
        return BYTES_PER_PLACE * capacity

    @property
    def count(self) -> int:
        """Legal places that were not drawn yet."""
        return len(self._waiting)

    def legal(self) -> np.ndarray:
        """Places that wait, first come first [n]."""
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
        """Does nothing: the order does not depend on errors."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The position of each place in the queue [size], -1 where it does not wait."""
        turn = np.full(size, -1)
        turn[self.legal()] = np.arange(self.count)
        return {"turn": turn}, {}

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]
    ) -> None:
        """Queues the legal places [n] that waited when they were saved; all of them if another sampler saved them.

        `source` gives the place that each place had when it was saved.
        """
        turn = arrays["turn"][source[legal]] if "turn" in arrays else np.arange(len(legal))
        order = np.argsort(turn)
        self._waiting = dict.fromkeys(legal[order][turn[order] >= 0].tolist())
