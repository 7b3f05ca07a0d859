"""A sampler that draws every legal window with the same probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MIN_ACCEPTED_SHARE = 0.25  # of drawn places; below it the legal places are listed instead


class Uniform:
    """Draws places at random and rejects those that are not legal, which are few."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.count = 0  # of legal places
        self._legal = np.zeros(capacity, bool)
        self._end = 0  # all places from here on have never been legal

    @staticmethod
    def bytes(capacity: int) -> int:
        """Memory in bytes."""
        return capacity

    def legal(self) -> np.ndarray:
        """Legal places [n], ascending."""
        return np.flatnonzero(self._legal)

    def admit(self, places: np.ndarray) -> None:
        """These rows [n] became legal starts."""
        self.count += len(places) - int(np.count_nonzero(self._legal[places]))
        self._legal[places] = True
        self._end = max(self._end, int(places.max()) + 1)

    def drop(self, places: np.ndarray) -> None:
        """These rows [n] were overwritten."""
        self.count -= int(np.count_nonzero(self._legal[places]))
        self._legal[places] = False

    def draw(self, batch_size: int, generators: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Places [K, B], one batch from each of K generators, and weights [K, B] of one."""
        places = np.empty((len(generators), batch_size), np.int64)
        for k, generator in enumerate(generators):
            places[k] = self._batch(batch_size, generator)
        return places, np.ones(places.shape, np.float32)

    def _batch(self, batch_size: int, generator: np.random.Generator) -> np.ndarray:
        if self.count < MIN_ACCEPTED_SHARE * self._end:  # rejection would be slow
            return generator.choice(self.legal(), batch_size)
        chosen = self._accepted(batch_size, generator)
        while len(chosen) < batch_size:
            chosen = np.concatenate([chosen, self._accepted(batch_size, generator)])
        return chosen[:batch_size]

    def _accepted(self, batch_size: int, generator: np.random.Generator) -> np.ndarray:
        uniforms = generator.random(batch_size + batch_size // 8 + 8)  # takes half the time of drawing integers
        places = (uniforms * self._end).astype(np.int64)
        return places[self._legal[places]]

    def update(self, places: np.ndarray, td_error: np.ndarray) -> None:
        """Does nothing: the probabilities do not depend on errors."""

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The range of the random numbers; the legal places follow from the ring's links."""
        return {}, {"end": self._end}

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]
    ) -> None:
        """Takes over the legal places [n]."""
        self.count, self._end = 0, min(scalars.get("end", 0), self.capacity)
        self._legal[:] = False
        if len(legal):
            self.admit(legal)
