"""Helpers for arrays by sensor that have one row for each agent: {sensor: [n, ...]}."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]  # {sensor: [n, ...]}


def any_sensor(marks: Arrays, n: int) -> np.ndarray:
    """{sensor: [n] bool} -> [n] bool: true where the row of any sensor is true."""
    return np.logical_or.reduce(list(marks.values())) if marks else np.zeros(n, bool)


def take(rows: np.ndarray, obs: Arrays, mask: np.ndarray) -> tuple[Arrays, np.ndarray]:
    """The rows (numbers, or [n] bool) of observations and masks."""
    return {name: value[rows] for name, value in obs.items()}, mask[rows]


def or_at(base: np.ndarray | None, at: np.ndarray, marks: np.ndarray | None, n: int) -> np.ndarray:
    """`base` [n] bool (None: all false), where the rows `at` are also true if their `marks` are."""
    out = np.zeros(n, bool) if base is None else base.copy()
    if marks is not None:
        out[at] |= marks
    return out
