"""The options of how an environment's observations are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

UNBOUNDED_FROM = 1e15  # a float bound of this size or more stands for "no bound"


@dataclass(frozen=True)
class Reading:
    """How observations are read.

    `by_bounds`: pictures and bytes are scaled by the bounds of their space; otherwise only bytes are, by 1/255.
    `channels`: the axis of a picture that holds the channels: auto | first | last | before (the rule of older runs).
    `mask`: the sensor that is the action mask, or the environment's method that returns it; None: neither.
    """

    by_bounds: bool = True
    channels: str = "auto"
    mask: str | None = None


DEFAULT_READING = Reading()


def has_bounds(space: spaces.Box) -> np.ndarray:
    """The elements of a space that have a meaningful lowest and highest value [*shape] bool."""
    bounded = space.bounded_below & space.bounded_above  # for integers only these tell an infinite bound
    if not np.issubdtype(space.dtype, np.floating):
        return bounded
    largest = min(UNBOUNDED_FROM, float(np.finfo(str(space.dtype)).max))
    low, high = (np.abs(x.astype(np.float64)) for x in (space.low, space.high))
    return bounded & (low < largest) & (high < largest)
