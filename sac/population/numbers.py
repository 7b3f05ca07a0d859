"""Hyperparameters of a learner by key, as arrays of a message and as text of the lineage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

PREFIX = "numbers/"  # of their names among the arrays of a learner's networks


def as_arrays(numbers: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Arrays [] by name, float64."""
    return {PREFIX + name: np.array(value, np.float64) for name, value in numbers.items()}


def of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The numbers among arrays by name."""
    return {name.removeprefix(PREFIX): float(x) for name, x in arrays.items() if name.startswith(PREFIX)}


def written(numbers: Mapping[str, float]) -> str:
    """Numbers as text: key=value key=value."""
    whole = {name: int(value) if value == int(value) else value for name, value in numbers.items()}
    return " ".join(f"{name}={value!r}" for name, value in sorted(whole.items()))
