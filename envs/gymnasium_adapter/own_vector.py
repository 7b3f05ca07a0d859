"""Environments that come as a vector already: by Gymnasium's vector_entry_point, or from a function (as envpool's)."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from envs.gymnasium_adapter.contract import INFO, STEP, Misfit, broken, fitting, shown
from envs.gymnasium_adapter.env_seeds import new_generators_seeded
from sac.errors import UserError

INFOS = *INFO, list  # old vector environments give one of each


class VectorContract(VectorWrapper):
    """Returns what a vector environment returns as arrays of its spaces' types.

    Raises ContractBroken where `reset` or `step` returns something else than Gymnasium's contract allows; `name` is
    the environment's.
    """

    def __init__(self, vector: VectorEnv, name: str) -> None:
        super().__init__(vector)
        self._name = name
        self._fit = fitting("observation", batch_space(vector.single_observation_space, vector.num_envs))

    def reset(self, *, seed: Any = None, options: dict | None = None) -> tuple[Any, Any]:
        with contextlib.nullcontext() if seed is None else new_generators_seeded(seed):
            result = self.env.reset(seed=seed, options=options)
        try:
            if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], INFOS)):
                raise Misfit(
                    f"reset() returned {shown(result)}; allowed is a tuple of two: observations, info (a dict)"
                )
            return self._fit(result[0]), result[1] or {}
        except Misfit as misfit:
            raise broken(self._name, "reset", misfit) from None

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
        result = self.env.step(actions)
        try:
            if not (isinstance(result, tuple) and len(result) == 5 and isinstance(result[4], INFOS)):
                raise Misfit(f"step() returned {shown(result)}; allowed is a tuple of five: {STEP} (a dict)")
            obs, reward, terminated, truncated, info = result
            flags = [self._each(name, x) for name, x in (("terminated", terminated), ("truncated", truncated))]
            return self._fit(obs), self._each("reward", reward), *flags, info or {}
        except Misfit as misfit:
            raise broken(self._name, "step", misfit) from None

    def _each(self, name: str, values: Any) -> np.ndarray:
        """One number of each environment."""
        array = np.asarray(values)
        if array.dtype.kind not in "biuf" or array.size != self.num_envs:
            cure = "; add up several with a gymnasium.vector.VectorRewardWrapper" if name == "reward" else ""
            raise Misfit(
                f"{name} is {shown(values)}; allowed is one number for each of {self.num_envs} environments{cure}"
            )
        return array.reshape(self.num_envs)


MISTAKES = (
    AssertionError,
    ImportError,
    KeyError,
    TypeError,
    ValueError,
    gymnasium.error.Error,
)  # in names and keywords
CURE = "single environments go with base.vectorization=sync or async"


def make_own_vector(name: str, n: int, render_mode: str | None, env_kwargs: Mapping[str, Any]) -> VectorEnv:
    """`module:function` is called with `num_envs` and `env_kwargs`; anything else is an id of Gymnasium.

    Raises UserError for one without a vector form.
    """
    kwargs = dict(env_kwargs) if render_mode is None else {**env_kwargs, "render_mode": render_mode}
    module, _, function = name.rpartition(":")
    try:
        make = getattr(importlib.import_module(module), function, None) if module else None
        if make is None:
            vector = gymnasium.make_vec(function, num_envs=n, vectorization_mode="vector_entry_point", **kwargs)
        else:
            vector = make(num_envs=n, **kwargs)
    except MISTAKES as error:
        raise UserError(
            f"base.vectorization=own: '{name}' makes no vector environment with num_envs={n} and {kwargs}: "
            f"{type(error).__name__}: {str(error).rstrip('.')}; {CURE}"
        ) from error
    if not isinstance(vector, VectorEnv):
        raise UserError(
            f"base.vectorization=own: '{name}' made a {type(vector).__name__}, not a gymnasium.vector.VectorEnv; {CURE}"
        )
    return vector


def autoreset_mode(vector: VectorEnv) -> AutoresetMode:
    """How a vector environment begins new episodes, as its metadata says. Raises UserError when they do not."""
    mode = (vector.metadata or {}).get("autoreset_mode")
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        raise UserError(
            f"{vector} does not say how it begins new episodes: its metadata['autoreset_mode'] is {mode}, must be one "
            f"of gymnasium.vector.AutoresetMode: {', '.join(m.name for m in AutoresetMode)}"
        ) from error
