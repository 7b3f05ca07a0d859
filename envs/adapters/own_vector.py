"""Environments that come as a vector already: by Gymnasium's vector_entry_point, or from a function (as envpool's)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from sac.errors import UserError

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
