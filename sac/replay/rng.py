"""Random generators that depend only on a seed and on the number of the draw."""

from __future__ import annotations

import numpy as np

FIRST_COUNTER = 1 << 192  # of Philox: far from 0, where another user of the same key would start


class RandomStream:
    """A generator for each (seed, number).

    Generators are reused, since setting the state of one is ten times as fast as making one.
    """

    def __init__(self) -> None:
        self._state = np.random.Philox(key=[0, 0], counter=FIRST_COUNTER).state
        self._kept: list[np.random.Generator] = []

    def generators(self, seed: int, first: int, count: int) -> list[np.random.Generator]:
        """The generators of the numbers `first`, ..., `first` + `count` - 1; they are valid until the next call."""
        while len(self._kept) < count:
            self._kept.append(np.random.Generator(np.random.Philox()))
        for number, generator in enumerate(self._kept[:count], first):
            self._state["state"]["key"][:] = seed % 2**63, number
            generator.bit_generator.state = self._state
        return self._kept[:count]
