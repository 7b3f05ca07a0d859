"""Proportional prioritised replay (arXiv:1511.05952)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sac.replay.sum_tree import SumTree


class Prioritized:
    """Draws a window with probability p / sum p, p = clip(|delta|, td_error_min, td_error_max)^alpha (eq. 1).

    delta is the TD error of the window. A place is legal where its leaf of the tree is positive.
    """

    def __init__(
        self,
        capacity: int,
        *,
        alpha: float,
        beta: float,
        beta_increment_per_sampling: float,
        td_error_min: float,
        td_error_max: float,
    ):
        if not 0 < td_error_min <= td_error_max:
            raise ValueError(f"0 < td_error_min <= td_error_max is needed, found {td_error_min} and {td_error_max}")
        self.capacity = capacity
        self.alpha = alpha
        self.beta_start = beta
        self.beta_increment = beta_increment_per_sampling
        self.td_error_min, self.td_error_max = td_error_min, td_error_max
        self.largest: float | None = None  # of all |delta| so far
        self.drawn = 0  # batches
        self.count = 0  # of legal places
        self._tree = SumTree(capacity)

    @staticmethod
    def bytes(capacity: int) -> int:
        """Memory in bytes."""
        return SumTree.bytes(capacity)

    @property
    def beta(self) -> float:
        """The exponent of the next batch's weights; it rises to 1 (section 3.4)."""
        return min(1.0, self.beta_start + self.drawn * self.beta_increment)

    def legal(self) -> np.ndarray:
        """Legal places [n], ascending."""
        return np.flatnonzero(self._tree.leaves)

    def priority(self, td_error: np.ndarray | float) -> np.ndarray:
        """p of absolute errors |delta|."""
        return np.clip(td_error, self.td_error_min, self.td_error_max) ** self.alpha

    def admit(self, places: np.ndarray) -> None:
        """These rows [n] became legal starts; they get the priority of the largest error so far (algorithm 1)."""
        self.count += len(places) - int(np.count_nonzero(self._tree.leaves[places]))
        self._tree.set(places, self.priority(self.td_error_max if self.largest is None else self.largest))

    def drop(self, places: np.ndarray) -> None:
        """These rows [n] were overwritten."""
        self.count -= int(np.count_nonzero(self._tree.leaves[places]))
        self._tree.set(places, 0.0)

    def draw(self, batch_size: int, generators: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Places [K, B], one from each of B equal parts of the total, and weights [K, B] = (p / min_batch p)^-beta."""
        uniforms = np.stack([generator.random(batch_size) for generator in generators])
        fractions = (np.arange(batch_size) + uniforms) / batch_size
        places = self._tree.sample(fractions.ravel()).reshape(fractions.shape)
        p = self._tree.leaves[places]
        beta = np.minimum(1.0, self.beta_start + (self.drawn + np.arange(len(generators))) * self.beta_increment)
        self.drawn += len(generators)
        return places, ((p / p.min(axis=-1, keepdims=True)) ** -beta[:, None]).astype(np.float32)

    def update(self, places: np.ndarray, td_error: np.ndarray) -> None:
        """New errors of places [n]. Of a place that occurs twice the last error counts; illegal places are skipped.

        Raises ValueError when an error is not finite.
        """
        error = np.abs(td_error, dtype=np.float64)
        if not len(error):
            return
        largest = float(error.max())
        if not np.isfinite(largest):
            raise ValueError("td_error is not finite: the update has diverged")
        self.largest = max(largest, self.largest or 0.0)
        legal = self._tree.leaves[places] > 0
        self._tree.set(places[legal], self.priority(error[legal]))

    def metrics(self) -> dict[str, float]:
        return {
            "replay/beta": self.beta,
            "replay/largest_td_error": self.largest or 0.0,
            "replay/mean_priority": self._tree.total / max(1, self.count),
        }

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Priorities p of the first `size` places (a view), the largest error and the number of batches drawn."""
        return {"priority": self._tree.leaves[:size]}, {"largest": self.largest, "drawn": self.drawn}

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]
    ) -> None:
        """Takes over the saved priorities of legal places [n]; rows without one get the priority of a new row.

        `source` gives the place that each place had when it was saved. Another sampler has saved no priorities.
        """
        self.largest, self.drawn = scalars.get("largest"), scalars.get("drawn", 0)
        self._tree, self.count = SumTree(self.capacity), 0
        if not len(legal):
            return
        self.admit(legal)
        if "priority" in arrays:
            saved = arrays["priority"][source[legal]]
            self._tree.set(legal[saved > 0], saved[saved > 0])
