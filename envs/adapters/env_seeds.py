"""Seeds for whatever an environment draws from: its spaces, the global generators, generators of its constructor."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import count
from typing import Any

import gymnasium
import numpy as np

from envs.adapters.layers import layers
from sac.seeds import seed_generators, seed_of

SPACES = ("observation_space", "action_space", "single_observation_space", "single_action_space")
SEEDING = ("gymnasium.utils.seeding", "gym.utils.seeding")  # modules that make generators for environments and spaces


def spread(seed: int, n: int) -> list[int]:
    """One independent seed for each of n sub-environments; neighbouring run seeds share none."""
    # 31 bits: old environments take no more
    return [int(s) >> 1 for s in np.random.SeedSequence(seed).generate_state(n)]


@contextlib.contextmanager
def seeded_construction(seed: int | None) -> Iterator[None]:
    """What an environment draws while it is made comes from `seed` (None: from the system, as ever).

    Gymnasium lets nobody seed an environment before its first reset: a constructor that asks for `np_random`, or for a
    sample of a space, gets a generator that was seeded by the system. Here it gets one of ours.
    """
    if seed is None:
        yield
        return
    seed_generators(seed)
    numbers = count()

    def seeded(make: Callable) -> Callable:
        return lambda given=None: make(seed_of(seed, next(numbers)) if given is None else given)

    with contextlib.ExitStack() as stack:
        for module in filter(None, map(sys.modules.get, SEEDING)):
            stack.callback(setattr, module, "np_random", module.np_random)
            module.np_random = seeded(module.np_random)
        yield


def seed_spaces(env: Any, seed: int) -> None:
    """Seeds every space that `env`, or what it wraps, may sample from; each with a seed of its own."""
    numbers = count()
    for layer in layers(env):
        held = {name: value for name, value in vars(layer).items() if _is_space(value)}
        held |= {name: getattr(layer, name, None) for name in SPACES}
        for name in sorted(held):
            if _is_space(held[name]):
                held[name].seed(seed_of(seed, next(numbers)))


def own_spaces(env: gymnasium.Env) -> None:
    """Spaces that belong to a class become the environment's own: others of its class would draw from them too."""
    for layer in layers(env):
        for name in SPACES:
            shared = next((vars(c)[name] for c in type(layer).__mro__ if name in vars(c)), None)
            if name not in vars(layer) and _is_space(shared):
                setattr(layer, name, deepcopy(shared))


def _is_space(value: Any) -> bool:
    return callable(getattr(value, "sample", None)) and callable(getattr(value, "seed", None))
