"""Running mean and variance of observations (NumPy only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sac.types import Sensor, Step

MIN_STD = 1e-4  # so that a value that was constant is not scaled up without bound when it first changes


class RunningStats:
    """Mean and variance of every element of every sensor over all rows that were added.

    Statistics of several sets of rows merge exactly (Chan, Golub and LeVeque, 1979). Without sensors, nothing is
    counted.
    """

    def __init__(self, sensors: Sequence[Sensor] = ()):
        self.count = 0  # rows
        self.mean = {s.name: np.zeros(s.shape, np.float64) for s in sensors}
        self.m2 = {s.name: np.zeros(s.shape, np.float64) for s in sensors}  # sums of squared differences from the mean

    def add(self, step: Step) -> None:
        """Counts the observations of the rows that hold an action: every state of an episode except the last."""
        acted = ~step.last
        k = int(np.count_nonzero(acted))
        if not k or not self.mean:
            return
        other = RunningStats()
        other.count = k
        for name in self.mean:
            rows = step.obs[name][acted].astype(np.float64)
            other.mean[name] = rows.mean(0)
            other.m2[name] = np.square(rows - other.mean[name]).sum(0)
        self.merge(other)

    def merge(self, other: RunningStats) -> None:
        """Adds the rows that `other` has counted."""
        total = self.count + other.count
        for name in self.mean if total else ():
            delta = other.mean[name] - self.mean[name]
            self.mean[name] = self.mean[name] + delta * (other.count / total)
            self.m2[name] = self.m2[name] + other.m2[name] + delta**2 * (self.count * other.count / total)
        self.count = total

    def std(self, name: str) -> np.ndarray:
        """Standard deviations of a sensor [*shape], at least MIN_STD; 1 before two rows were counted."""
        if self.count < 2:
            return np.ones_like(self.m2[name])
        return np.maximum(np.sqrt(self.m2[name] / self.count), MIN_STD)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Arrays "mean/<sensor>" and "m2/<sensor>", and the scalar "count"."""
        arrays = {f"mean/{n}": x for n, x in self.mean.items()} | {f"m2/{n}": x for n, x in self.m2.items()}
        return arrays, {"count": self.count}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, int]) -> None:
        self.count = scalars["count"]
        self.mean = {name: np.array(arrays[f"mean/{name}"]) for name in self.mean}
        self.m2 = {name: np.array(arrays[f"m2/{name}"]) for name in self.m2}
