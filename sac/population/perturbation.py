"""How hyperparameters move from one generation to the next: a step up or down within the bounds of their distribution.

Jaderberg et al., arXiv:1711.09846, section 4.1 (factors of 1.2 and 0.8). Here steps up and down cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sac.config.distributions import Distribution, OneOf
from sac.population.pbt import Observation

FACTORS = (0.8, 1.25)  # by which a number moves
FROM_ONE = ("sac.gamma", "sac.v_lambda")  # of these the distance from 1 moves: the horizon is 1 / (1 - gamma)
LOGARITHMS = ("sac.init_log_alpha",)  # these are logarithms of the number that moves


@dataclass(frozen=True)
class Perturbation:
    """Moves every number by a step up or down, each as likely as the other; see Explore.

    A number stays where it is when the step would lead to a value of its key that is not `allowed`.
    """

    distributions: Mapping[str, Distribution]
    allowed: Callable[[str, float], bool]

    def __call__(
        self, numbers: Mapping[str, float], observed: Sequence[Observation], random: np.random.Generator
    ) -> dict[str, float]:
        """Other values of the numbers, by key."""
        found = {}
        for name, value in sorted(numbers.items()):
            other = moved(name, value, self.distributions[name], int(random.integers(2)))
            found[name] = other if self.allowed(name, other) else value
        return found


def moved(name: str, value: float, distribution: Distribution, up: int) -> float:
    """The number `value` of a key after a step up (1) or down (0).

    A choice becomes one of its neighbours in ascending order, and the first or last one its only neighbour. Any other
    number moves by a factor, and stays within the bounds of its distribution.
    """
    if isinstance(distribution, OneOf):
        return _neighbour(value, sorted(distribution.values), up)
    low, high = distribution.low, distribution.high
    if not distribution.whole:
        return min(max(_scaled(name, value, FACTORS[up]), low), high)
    step = math.ceil(value * FACTORS[1]) if up else math.floor(value * FACTORS[0])
    return int(min(max(step, low), high))


def _scaled(name: str, value: float, factor: float) -> float:
    if name in FROM_ONE:
        return 1 - (1 - value) * factor
    if name in LOGARITHMS:
        return value + math.log(factor)
    return value * factor


def _neighbour(value: float, values: list[float], up: int) -> float:
    i = min(range(len(values)), key=lambda j: abs(values[j] - value))
    j = i + (1 if up else -1)
    return values[j] if 0 <= j < len(values) else values[i - (1 if up else -1)] if len(values) > 1 else values[i]
