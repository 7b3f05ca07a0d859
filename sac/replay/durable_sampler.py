"""A sampler whose priorities lie in the durable replay's file as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sac.replay.sampler import Sampler


class DurableSampler:
    """Passes every call on to `sampler` and copies changed priorities to `priority` [capacity], if there are any."""

    def __init__(self, sampler: Sampler, priority: np.ndarray):
        self._sampler, self._priority = sampler, priority
        self.capacity = sampler.capacity

    @property
    def count(self) -> int:
        return self._sampler.count

    def legal(self) -> np.ndarray:
        return self._sampler.legal()

    def admit(self, places: np.ndarray) -> None:
        self._sampler.admit(places)
        self._copy(places)

    def drop(self, places: np.ndarray) -> None:
        self._sampler.drop(places)
        self._copy(places)

    def draw(self, batch_size: int, generators: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        return self._sampler.draw(batch_size, generators)

    def update(self, places: np.ndarray, td_error: np.ndarray) -> None:
        self._sampler.update(places, td_error)
        self._copy(places)

    def metrics(self) -> dict[str, float]:
        return self._sampler.metrics()

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return self._sampler.state(size)

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]
    ) -> None:
        self._sampler.restore(legal, source, arrays, scalars)
        self._copy(slice(None))

    def bytes(self, capacity: int) -> int:
        return self._sampler.bytes(capacity)

    def _copy(self, places: np.ndarray | slice) -> None:
        for array in self._sampler.state(len(self._priority))[0].values():  # one array or none
            self._priority[places] = array[places]
