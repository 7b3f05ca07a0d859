"""An action mask that a method of the environment returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from envs.adapters.action_mask import KEY
from envs.adapters.observation_space import part_names
from sac.errors import UserError


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


def masked(env: gymnasium.Env, name: str, mask: str | None) -> gymnasium.Env:
    """`env` with the mask that its method `mask` returns, unless that is null or a part of its observation.

    Raises UserError where it has nothing of the kind; `name` is its id.
    """
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
