"""An action mask that a method of the environment returns."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from envs.gymnasium_adapter.action_mask import KEY, legal
from envs.gymnasium_adapter.observation_space import part_names
from sac.errors import ContractBroken, UserError

MASK_METHOD = "action_masks"  # what sb3-contrib calls such a method


class MaskMethod(gymnasium.Wrapper):
    """What the environment's method `name` returns, flat or by branches, becomes `info["action_mask"]`."""

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self._name, self._method = name, env.get_wrapper_attr(name)

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        obs, info = self.env.reset(**kwargs)
        return obs, self._with_mask(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, self._with_mask(info)

    def _with_mask(self, info: dict) -> dict:
        mask = _flat(self._method())
        source = f"base.action_mask={self._name}"
        if mask is None:
            raise ContractBroken(f"{source}: this method returned no mask; allowed is 1 or 0 for each choice")
        return {**info, KEY: legal(mask, source)}


def _flat(mask: Any) -> np.ndarray | None:
    """The numbers of a mask, which may be a list of one for each branch, side by side; None where it is no mask."""
    if isinstance(mask, list | tuple) and mask:
        parts = [_flat(part) for part in mask]
        return None if any(part is None for part in parts) else np.concatenate(parts)
    try:
        numbers = np.ravel(np.asarray(mask))
    except Exception:  # tensors have exceptions of their own
        return None
    return numbers if numbers.dtype.kind in "biuf" else None


def masked(env: gymnasium.Env, name: str, mask: str | None) -> gymnasium.Env:
    """`env` with the mask that its method `mask` returns, unless that is null or a part of its observation.

    Raises UserError where it has nothing of the kind; `name` is its id.
    """
    parts = part_names(env.observation_space)
    if mask is None or any(part == mask or part.startswith(f"{mask}/") for part in parts):
        return env
    if not env.has_wrapper_attr(mask) or not _needs_nothing(env.get_wrapper_attr(mask)):
        raise UserError(unknown_mask(mask, name, parts))
    return MaskMethod(env, mask)


def _needs_nothing(method: Any) -> bool:
    """Whether something can be called without arguments."""
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind()
    except TypeError:
        return False
    except ValueError:  # compiled code does not always say
        pass
    return True


def unknown_mask(mask: str, name: str, parts: Sequence[str]) -> str:
    """What to say of a base.action_mask that names nothing."""
    return (
        f"base.action_mask={mask}: '{name}' has no such part of its observation (there are {', '.join(parts)}) and no "
        "such method without arguments; null takes masks from info['action_mask']"
    )
