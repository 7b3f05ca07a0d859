"""What the config asks of each single environment: one number as its reward, and a mask that a method returns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from envs.adapters.action_mask import KEY
from envs.adapters.observation_space import part_names
from sac.errors import UserError


class OneReward(gymnasium.Wrapper):
    """A reward of several numbers (multi-objective environments) becomes their weighted sum.

    Raises UserError for one without weights, or with another number of them; `name` is the environment's.
    """

    def __init__(self, env: gymnasium.Env, name: str, weights: Sequence[float]) -> None:
        super().__init__(env)
        self._name, self._weights = name, np.array(weights, np.float64)
        space = getattr(env.unwrapped, "reward_space", None)  # as mo-gymnasium has it
        if isinstance(space, gymnasium.Space) and space.shape:
            self._check(math.prod(space.shape))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        if self._weights.size or np.ndim(reward):
            reward = self._one(np.ravel(reward), reward)
        return obs, reward, terminated, truncated, info

    def _one(self, numbers: np.ndarray, reward: Any) -> Any:
        self._check(numbers.size)
        return float(numbers @ self._weights) if self._weights.size else reward

    def _check(self, count: int) -> None:
        weights = self._weights.tolist()
        if count != (len(weights) or 1):
            raise UserError(
                f"base.reward_weights={weights}: '{self._name}' gives rewards of {count} numbers; give one weight for "
                f"each, for example base.reward_weights={[1.0] * count}, and their weighted sum is the reward"
            )


class MaskMethod(gymnasium.Wrapper):
    """What the environment's method `name` returns, flat or by branches, becomes `info["action_mask"]`."""

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self._method = env.get_wrapper_attr(name)

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        obs, info = self.env.reset(**kwargs)
        return obs, self._with_mask(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, self._with_mask(info)

    def _with_mask(self, info: dict) -> dict:
        mask = self._method()
        if not isinstance(mask, np.ndarray) or mask.dtype == object:
            mask = np.concatenate([np.ravel(part) for part in mask])
        return {**info, KEY: mask.ravel().astype(bool)}


def as_configured(env: gymnasium.Env, name: str, weights: Sequence[float], mask: str | None) -> gymnasium.Env:
    """`env` with what the config asks for. Raises UserError where it has nothing of the kind; `name` is its id."""
    env = OneReward(env, name, weights)
    parts = part_names(env.observation_space)
    if mask is None or any(part == mask or part.startswith(f"{mask}/") for part in parts):
        return env
    if not env.has_wrapper_attr(mask) or not callable(env.get_wrapper_attr(mask)):
        raise UserError(unknown_mask(mask, name, parts))
    return MaskMethod(env, mask)


def unknown_mask(mask: str, name: str, parts: Sequence[str]) -> str:
    """What to say of a base.action_mask that names nothing."""
    return (
        f"base.action_mask={mask}: '{name}' has no such part of its observation (there are {', '.join(parts)}) and no "
        "such method; null takes masks from info['action_mask']"
    )
