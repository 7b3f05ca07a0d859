"""Action masks that a method of the environment returns."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from envs.gymnasium_adapter.action_mask import MASK_KEY, to_bool_mask
from envs.gymnasium_adapter.observation_space import part_names
from sac.errors import ContractBroken, UserError

MASK_METHOD = "action_masks"  # what sb3-contrib calls such a method


class MaskMethod(gymnasium.Wrapper):
    """Puts the mask that the environment's method `name` returns, flat or by branches, into `info["action_mask"]`."""

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
        return {**info, MASK_KEY: to_bool_mask(mask, source)}


def _flat(mask: Any) -> np.ndarray | None:
    """The numbers of a mask [C], where a list of one mask for each branch is concatenated; None where it is no mask."""
    if isinstance(mask, list | tuple) and mask:
        parts = [flat for part in mask if (flat := _flat(part)) is not None]
        return np.concatenate(parts) if len(parts) == len(mask) else None
    try:
        numbers = np.ravel(np.asarray(mask))
    except Exception:  # tensors raise exceptions of their own
        return None
    return numbers if numbers.dtype.kind in "biuf" else None


def with_mask_method(env: gymnasium.Env, name: str, mask: str | None) -> gymnasium.Env:
    """`env` with the masks of its method `mask`; `env` itself where `mask` is None or a part of its observation.

    Raises UserError where it has neither such a method nor such a part; `name` is its id.
    """
    parts = part_names(env.observation_space)
    if mask is None or any(part == mask or part.startswith(f"{mask}/") for part in parts):
        return env
    if not env.has_wrapper_attr(mask) or not _needs_no_arguments(env.get_wrapper_attr(mask)):
        raise UserError(unknown_mask(mask, name, parts))
    return MaskMethod(env, mask)


def _needs_no_arguments(method: Any) -> bool:
    """Whether the method can be called without arguments."""
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind()
    except TypeError:
        return False
    except ValueError:  # compiled functions may have no signature
        pass
    return True


def unknown_mask(mask: str, name: str, parts: Sequence[str]) -> str:
    """The message for a base.action_mask that names neither a part of the observation nor a method."""
    return (
        f"base.action_mask={mask}: '{name}' has no such part of its observation (there are {', '.join(parts)}) and no "
        "such method without arguments; null takes masks from info['action_mask']"
    )
