"""Random numbers that depend on a seed and a number only, wherever one begins to count."""

from __future__ import annotations

import numpy as np

BEGINS = 1 << 192  # not where another user of the same key would start


class RandomStream:
    """A generator for each (seed, number), by setting the state of a kept one: making one takes ten times as long."""

    def __init__(self) -> None:
        self._state = np.random.Philox(key=[0, 0], counter=BEGINS).state
        self._kept: list[np.random.Generator] = []

    def generators(self, seed: int, first: int, count: int) -> list[np.random.Generator]:
        """Those of `first`, `first` + 1, ...; they are good until the next call."""
        while len(self._kept) < count:
            self._kept.append(np.random.Generator(np.random.Philox()))
        for number, generator in enumerate(self._kept[:count], first):
            self._state["state"]["key"][:] = seed % 2**63, number
            generator.bit_generator.state = self._state
        return self._kept[:count]
