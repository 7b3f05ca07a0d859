"""Proportional prioritised replay (arXiv:1511.05952)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sac.replay.sum_tree import SumTree


class Prioritized:
    """Draws a window with probability p / sum p, p = clip(|delta|, td_error_min, td_error_max)^alpha (eq. 1).

    A place is legal where its leaf is positive.
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
        self.largest: float | None = None  # |delta| seen so far
        self.drawn = 0  # batches
        self.count = 0  # of legal places
        self._tree = SumTree(capacity)

    @staticmethod
    def bytes(capacity: int) -> int:
        return SumTree.bytes(capacity)

    @property
    def beta(self) -> float:
        """Exponent of the next batch's weights."""
        return min(1.0, self.beta_start + self.drawn * self.beta_increment)

    def legal(self) -> np.ndarray:
        """Legal places, ascending."""
        return np.flatnonzero(self._tree.leaves)

    def priority(self, td_error: np.ndarray | float) -> np.ndarray:
        """p of absolute errors."""
        return np.clip(td_error, self.td_error_min, self.td_error_max) ** self.alpha

    def admit(self, places: np.ndarray) -> None:
        """These rows [n] became legal starts; they get the priority of the largest error seen."""
        self.count += len(places) - np.count_nonzero(self._tree.leaves[places])
        self._tree.set(places, self.priority(self.td_error_max if self.largest is None else self.largest))

    def drop(self, places: np.ndarray) -> None:
        """These rows [n] were overwritten."""
        self.count -= np.count_nonzero(self._tree.leaves[places])
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
        """New errors of places [n]; where one occurs twice the last counts; rows no longer legal stay as they are."""
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

    def state(self, size: int) -> tuple[dict[str, np.ndarray], dict]:
        """Priorities of the first `size` places (a view), and two numbers."""
        return {"priority": self._tree.leaves[:size]}, {"largest": self.largest, "drawn": self.drawn}

    def restore(
        self, legal: np.ndarray, source: np.ndarray, arrays: Mapping[str, np.ndarray], scalars: Mapping
    ) -> None:
        """Takes over the saved priorities of legal places [n]; rows that had none get a new row's.

        `source` tells where each place lay when it was saved. What another sampler saved has no priorities.
        """
        self.largest, self.drawn = scalars.get("largest"), scalars.get("drawn", 0)
        self._tree, self.count = SumTree(self.capacity), 0
        if not len(legal):
            return
        self.admit(legal)
        if "priority" in arrays:
            saved = arrays["priority"][source[legal]]
            self._tree.set(legal[saved > 0], saved[saved > 0])
