"""Every legal window with the same probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


class Uniform:
    """Draws places at random and keeps those that are legal: nearly all of them are."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.count = 0  # of legal places
        self._legal = np.zeros(capacity, bool)
        self._end = 0  # places from here on were never legal

    @staticmethod
    def bytes(capacity: int) -> int:
        return capacity

    def legal(self) -> np.ndarray:
        """Legal places, ascending."""
        return np.flatnonzero(self._legal)

    def admit(self, places: np.ndarray) -> None:
        """These rows [n] became legal starts."""
        self.count += len(places) - np.count_nonzero(self._legal[places])
        self._legal[places] = True
        self._end = max(self._end, int(places.max()) + 1)

    def drop(self, places: np.ndarray) -> None:
        """These rows [n] were overwritten."""
        self.count -= np.count_nonzero(self._legal[places])
        self._legal[places] = False

    def draw(self, batch_size: int, generators: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Places [K, B] and weights [K, B], all one; a batch for each generator."""
        places = np.empty((len(generators), batch_size), np.int64)
        for k, generator in enumerate(generators):
            places[k] = self._batch(batch_size, generator)
        return places, np.ones(places.shape, np.float32)

    def _batch(self, batch_size: int, generator: np.random.Generator) -> np.ndarray:
        if 4 * self.count < self._end:  # rejection would be slow
            return generator.choice(self.legal(), batch_size)
        chosen = self._some(batch_size, generator)
        while len(chosen) < batch_size:
            chosen = np.concatenate([chosen, self._some(batch_size, generator)])
        return chosen[:batch_size]

    def _some(self, batch_size: int, generator: np.random.Generator) -> np.ndarray:
        uniforms = generator.random(batch_size + batch_size // 8 + 8)  # half the time of integers
        places = (uniforms * self._end).astype(np.int64)
        return places[self._legal[places]]

    def update(self, places: np.ndarray, td_error: np.ndarray) -> None:
        """Nothing to learn from errors."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict]:
        """No array, as legality follows from the links, and the range of the random numbers."""
        return {}, {"end": self._end}

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping
    ) -> None:
        """Starts again with the legal places [n]."""
        self.count, self._end = 0, min(scalars.get("end", 0), self.capacity)
        self._legal[:] = False
        if len(legal):
            self.admit(legal)
