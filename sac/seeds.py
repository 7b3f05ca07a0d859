"""Seeds derived from other seeds, and the global generators of Python and NumPy."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np


def seed_of(*numbers: int) -> int:
    """One seed, in [0, 2^31), derived from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] % 2**31)


def seed_of_repetition(seed: int | None, repeat: int) -> int:
    """The seed of repetition number `repeat` of a command; the system draws one where the command has none."""
    return (int.from_bytes(os.urandom(3), "little") if seed is None else seed) + repeat


def resumed_seed(seed: int, steps: int) -> int:
    """The seed of the episodes that a run plays after its checkpoint at `steps` steps; `seed` itself at step 0."""
    return seed_of(seed, steps) if steps else seed


def seeds_from(seed: int) -> Iterator[int]:
    """This seed, then any number of seeds derived from it: what is created again does not repeat its random numbers."""
    yield seed
    yield from (seed_of(seed, number) for number in count(1))


def seed_generators(seed: int) -> None:
    """Seeds the global generators, which some environments use."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """A context in which the global generators start from `seed`; afterwards they continue from where they were."""
    kept = random.getstate(), np.random.get_state()
    seed_generators(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
