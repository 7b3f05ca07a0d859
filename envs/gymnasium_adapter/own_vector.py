"""Environments that make a vector environment themselves: by a vector_entry_point, or by a function as envpool's."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from envs.gymnasium_adapter.contract import INFO_TYPES, STEP_VALUES, ContractViolation, broken, converter, short_repr
from envs.gymnasium_adapter.env_seeds import new_generators_seeded
from sac.errors import UserError

VECTOR_INFO_TYPES = *INFO_TYPES, list  # old vector environments give a list of dicts


class VectorContract(VectorWrapper):
    """Returns what a vector environment returns, as arrays in the types of its spaces.

    `reset` and `step` raise ContractBroken where it returns what Gymnasium's contract does not allow; `name` is the
    environment's name for messages.
    """

    def __init__(self, vector: VectorEnv, name: str) -> None:
        super().__init__(vector)
        self._name = name
        self._convert = converter("observation", batch_space(vector.single_observation_space, vector.num_envs))

    def reset(self, *, seed: Any = None, options: dict | None = None) -> tuple[Any, Any]:
        with contextlib.nullcontext() if seed is None else new_generators_seeded(seed):
            result = self.env.reset(seed=seed, options=options)
        try:
            if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], VECTOR_INFO_TYPES)):
                raise ContractViolation(
                    f"reset() returned {short_repr(result)}; allowed is a tuple of two: observations, info (a dict)"
                )
            return self._convert(result[0]), result[1] or {}
        except ContractViolation as violation:
            raise broken(self._name, "reset", violation) from None

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
        result = self.env.step(actions)
        try:
            if not (isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], VECTOR_INFO_TYPES)):
                raise ContractViolation(
                    f"step() returned {short_repr(result)}; allowed is a tuple of five: {STEP_VALUES} (a dict)"
                )
            obs, reward, terminated, truncated, info = result
            flags = [self._each(name, x) for name, x in (("terminated", terminated), ("truncated", truncated))]
            return self._convert(obs), self._each("reward", reward), *flags, info or {}
        except ContractViolation as violation:
            raise broken(self._name, "step", violation) from None

    def _each(self, name: str, values: Any) -> np.ndarray:
        """Values of any shape as one number for each environment [n]."""
        array = np.asarray(values)
        if array.dtype.kind not in "biuf" or array.size != self.num_envs:
            cure = "; add up several with a gymnasium.vector.VectorRewardWrapper" if name == "reward" else ""
            raise ContractViolation(
                f"{name} is {short_repr(values)}; allowed is one number for each of {self.num_envs} environments{cure}"
            )
        return array.reshape(self.num_envs)


# what a mistyped name or argument raises
CALLER_ERRORS = (AssertionError, ImportError, KeyError, TypeError, ValueError, gymnasium.error.Error)
ADVICE = "single environments go with base.vectorization=sync or async"


def make_own_vector(name: str, n: int, render_mode: str | None, env_kwargs: Mapping[str, Any]) -> VectorEnv:
    """The vector environment that `name` makes of `n` sub-environments.

    `module:function` is called with `num_envs` and `env_kwargs`; any other name is an id of Gymnasium with a
    vector_entry_point. Raises UserError where neither makes a vector environment.
    """
    kwargs = dict(env_kwargs) if render_mode is None else {**env_kwargs, "render_mode": render_mode}
    module, _, function = name.rpartition(":")
    try:
        make = getattr(importlib.import_module(module), function, None) if module else None
        if make is None:
            vector = gymnasium.make_vec(function, num_envs=n, vectorization_mode="vector_entry_point", **kwargs)
        else:
            vector = make(num_envs=n, **kwargs)
    except CALLER_ERRORS as error:
        raise UserError(
            f"base.vectorization=own: '{name}' makes no vector environment with num_envs={n} and {kwargs}: "
            f"{type(error).__name__}: {str(error).rstrip('.')}; {ADVICE}"
        ) from error
    if not isinstance(vector, VectorEnv):
        raise UserError(
            f"base.vectorization=own: '{name}' made a {type(vector).__name__}, not a gymnasium.vector.VectorEnv; "
            f"{ADVICE}"
        )
    return vector


def autoreset_mode(vector: VectorEnv) -> AutoresetMode:
    """How a vector environment begins new episodes, by its metadata. Raises UserError where these do not say it."""
    mode = (vector.metadata or {}).get("autoreset_mode")
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        raise UserError(
            f"{vector} does not say how it begins new episodes: its metadata['autoreset_mode'] is {mode}, must be one "
            f"of gymnasium.vector.AutoresetMode: {', '.join(m.name for m in AutoresetMode)}"
        ) from error
