"""What the config may say about how an environment's observations are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

NO_LIMIT = 1e15  # a float bound of this size or more is there only because something had to be written


@dataclass(frozen=True)
class Reading:
    """`by_bounds`: pictures and bytes are scaled by the bounds of their space, else only bytes, by 1/255.

    `channels`: which axis of a picture holds them: auto | first | last | before (the rule of older runs).
    `mask`: the sensor that is the action mask, or the environment's method that returns it.
    """

    by_bounds: bool = True
    channels: str = "auto"
    mask: str | None = None


AS_IT_COMES = Reading()


def limited(space: spaces.Box) -> np.ndarray:
    """Which elements have a lowest and a highest value that mean something [*shape] bool."""
    bounded = space.bounded_below & space.bounded_above  # whole numbers show an infinite bound only here
    if not np.issubdtype(space.dtype, np.floating):
        return bounded
    largest = min(NO_LIMIT, float(np.finfo(space.dtype).max))
    low, high = (np.abs(x.astype(np.float64)) for x in (space.low, space.high))
    return bounded & (low < largest) & (high < largest)
