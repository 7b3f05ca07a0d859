"""Seeds made of seeds, and the global generators of Python and NumPy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
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


def seed_generators(seed: int) -> None:
    """Seeds the global generators, which some environments draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """Seeds the global generators for what is done within; afterwards they go on as if nothing had been drawn."""
    kept = random.getstate(), np.random.get_state()
    seed_generators(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
