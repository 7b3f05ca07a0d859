"""What a replay needs of a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Sampler(Protocol):
    """Decides which legal windows are drawn. It knows places in the ring and nothing else.

    A place is legal when a window may begin there.
    """

    capacity: int

    @property
    def count(self) -> int:
        """Number of legal places."""
        ...

    def legal(self) -> np.ndarray:
        """Legal places [n]."""
        ...

    def admit(self, places: np.ndarray) -> None:
        """These places [n] became legal."""
        ...

    def drop(self, places: np.ndarray) -> None:
        """The rows of these places [n], legal or not, were overwritten."""
        ...

    def draw(self, batch_size: int, generators: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Places and weights [K, B], one batch from each of K generators; must not keep the generators."""
        ...

    def update(self, places: np.ndarray, td_error: np.ndarray) -> None:
        """New absolute TD errors [n] of the windows that begin at `places` [n]."""
        ...

    def metrics(self) -> dict[str, float]: ...

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays [size] over the first places, and scalars ready for JSON."""
        ...

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]
    ) -> None:
        """Continues from `state` with the legal places [n]; `source` gives the place that each place had then."""
        ...

    def bytes(self, capacity: int) -> int:
        """Memory in bytes for `capacity` places."""
        ...
