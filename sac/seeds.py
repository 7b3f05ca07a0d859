"""Seeds made of seeds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np


def seed_of(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] % 2**31)


def resumed_seed(seed: int, steps: int) -> int:
    """The seed of the episodes that a run plays after its checkpoint of `steps` steps; at its beginning its own."""
    return seed_of(seed, steps) if steps else seed


def seeds_from(seed: int) -> Iterator[int]:
    """This seed and any number of others made of it: nothing that is made anew shall repeat what was before."""
    yield seed
    yield from (seed_of(seed, again) for again in count(1))
