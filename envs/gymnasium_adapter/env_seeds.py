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

from envs.gymnasium_adapter.layers import layers
from sac.seeds import seed_generators, seed_of

SPACES = ("observation_space", "action_space", "single_observation_space", "single_action_space")
MAKERS = (  # functions that make a generator of a seed, and of the system's entropy where they are given none
    ("gymnasium.utils.seeding", "np_random"),
    ("gym.utils.seeding", "np_random"),
    ("numpy.random", "default_rng"),
)
CONSTRUCTOR, RESET = 1 << 20, 1 << 21  # numbers of the generators made there begin so; those of spaces begin with 0


def spread(seed: int, n: int) -> list[int]:
    """One independent seed for each of n sub-environments; neighbouring run seeds share none."""
    # 31 bits: old environments take no more
    return [int(s) >> 1 for s in np.random.SeedSequence(seed).generate_state(n)]


@contextlib.contextmanager
def seeded_construction(seed: int | None) -> Iterator[None]:
    """What an environment draws while it is made comes from `seed` (None: from the system, as ever)."""
    if seed is None:
        yield
        return
    seed_generators(seed)
    with new_generators_seeded(seed, CONSTRUCTOR):
        yield


@contextlib.contextmanager
def new_generators_seeded(seed: int, first: int = RESET) -> Iterator[None]:
    """Whoever makes a generator within, without a seed, gets one that is seeded by `seed`.

    Gymnasium makes those of environments and spaces when they are first asked for, perhaps before anybody could have
    seeded them, and environments make their own.
    """
    numbers = count(first)

    def seeded(make: Callable) -> Callable:
        def made(seed: Any = None) -> Any:
            return make(next_seed() if seed is None else seed)

        return made

    def next_seed() -> int:
        return seed_of(seed, next(numbers))

    with contextlib.ExitStack() as stack:
        for name, function in MAKERS:
            module = sys.modules.get(name)
            if module is not None:
                make = getattr(module, function)
                stack.callback(setattr, module, function, make)
                setattr(module, function, seeded(make))
        yield


def seed_spaces(env: Any, seed: int) -> None:
    """Seeds every space that `env`, or what it wraps, may sample from; each with a seed of its own."""
    numbers = count()
    for layer in layers(env):
        held = vars(layer) | {name: getattr(layer, name, None) for name in SPACES}
        for name in sorted(held):
            for space in filter(_is_space, _together(held[name])):
                space.seed(seed_of(seed, next(numbers)))


def own_spaces(env: gymnasium.Env) -> None:
    """Spaces that belong to a class become the environment's own: others of its class would draw from them too."""
    for layer in layers(env):
        for name in SPACES:
            shared = next((vars(c)[name] for c in type(layer).__mro__ if name in vars(c)), None)
            if name not in vars(layer) and _is_space(shared):
                setattr(layer, name, deepcopy(shared))


def _together(value: Any) -> list[Any]:
    """The things in a plain dict, list or tuple; anything else by itself."""
    if type(value) is dict:
        return list(value.values())
    return list(value) if type(value) in (list, tuple) else [value]


def _is_space(value: Any) -> bool:
    return callable(getattr(value, "sample", None)) and callable(getattr(value, "seed", None))
