"""Seeds everything that an environment draws from: its spaces, global generators, generators that it makes itself."""

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

SPACE_ATTRIBUTES = ("observation_space", "action_space", "single_observation_space", "single_action_space")
GENERATOR_MAKERS = (  # functions that make a generator from a seed, and from system entropy where the seed is None
    ("gymnasium.utils.seeding", "np_random"),
    ("gym.utils.seeding", "np_random"),
    ("numpy.random", "default_rng"),
)
# The i-th generator that a constructor or a reset makes has the seed of number FIRST + i; spaces count from 0.
FIRST_CONSTRUCTOR_NUMBER, FIRST_RESET_NUMBER = 1 << 20, 1 << 21


def independent_seeds(seed: int, n: int) -> list[int]:
    """One independent seed for each of n sub-environments; no two run seeds give the same ones."""
    # 31 bits, because old environments accept no more
    return [int(s) >> 1 for s in np.random.SeedSequence(seed).generate_state(n)]


@contextlib.contextmanager
def seeded_construction(seed: int | None) -> Iterator[None]:
    """Everything that an environment draws inside this context comes from `seed`; None changes nothing."""
    if seed is None:
        yield
        return
    seed_generators(seed)
    with new_generators_seeded(seed, FIRST_CONSTRUCTOR_NUMBER):
        yield


@contextlib.contextmanager
def new_generators_seeded(seed: int, first: int = FIRST_RESET_NUMBER) -> Iterator[None]:
    """Generators that are made inside this context without a seed are seeded from `seed`.

    Gymnasium makes the generators of environments and spaces when they are first used, which may be before anything
    could seed them, and environments make generators of their own.
    """
    numbers = count(first)

    def seeded(make: Callable) -> Callable:
        def made(seed: Any = None) -> Any:
            return make(next_seed() if seed is None else seed)

        return made

    def next_seed() -> int:
        return seed_of(seed, next(numbers))

    with contextlib.ExitStack() as stack:
        for name, function in GENERATOR_MAKERS:
            module = sys.modules.get(name)
            if module is not None:
                make = getattr(module, function)
                stack.callback(setattr, module, function, make)
                setattr(module, function, seeded(make))
        yield


def seed_spaces(env: Any, seed: int) -> None:
    """Seeds every space of `env` and of the environments that it wraps, each space with a seed of its own."""
    numbers = count()
    for layer in layers(env):
        held = vars(layer) | {name: getattr(layer, name, None) for name in SPACE_ATTRIBUTES}
        for name in sorted(held):
            for space in filter(_is_space, _items(held[name])):
                space.seed(seed_of(seed, next(numbers)))


def copy_class_spaces(env: gymnasium.Env) -> None:
    """Replaces spaces that belong to a class by copies: other instances of the class would draw from them too."""
    for layer in layers(env):
        for name in SPACE_ATTRIBUTES:
            shared = next((vars(c)[name] for c in type(layer).__mro__ if name in vars(c)), None)
            if name not in vars(layer) and _is_space(shared):
                setattr(layer, name, deepcopy(shared))


def _items(value: Any) -> list[Any]:
    """The items of a plain dict, list or tuple; any other value as the only item."""
    if type(value) is dict:
        return list(value.values())
    return list(value) if type(value) in (list, tuple) else [value]


def _is_space(value: Any) -> bool:
    return callable(getattr(value, "sample", None)) and callable(getattr(value, "seed", None))
