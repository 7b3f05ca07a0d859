"""Seeds made of seeds."""

from __future__ import annotations

import numpy as np


def seed_of(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] % 2**31)
