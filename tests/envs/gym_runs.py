"""Environments of the Gymnasium adapter in each autoreset mode, and random actions for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.gymnasium_adapter.env import GymEnv
from envs.gymnasium_adapter.make import env_maker
from envs.gymnasium_adapter.reading import DEFAULT_READING, Reading
from envs.gymnasium_adapter.workers import make_workers
from sac.types import Action


def env_in_mode(
    env_id: str, n_agents: int, vectorization: str, mode: AutoresetMode | str,
    reset_options: Mapping[str, Any] | None = None, env_kwargs: Mapping[str, Any] | None = None,
    reading: Reading = DEFAULT_READING,
) -> GymEnv:  # fmt: skip
    """As `build_gym_env` makes it for `sync` and `async`, but with this autoreset mode."""
    makers = [env_maker(env_id, None, env_kwargs or {}, reset_options or {}, (), reading.mask)] * n_agents
    if vectorization == "sync":
        vector = SyncVectorEnv(makers, autoreset_mode=AutoresetMode(mode))
    else:
        vector = make_workers(makers, autoreset=AutoresetMode(mode))
    return GymEnv(vector, env_id, reset_options, reading)


def act(env, turn, rng=None) -> Action:
    """Random actions of the agents that ask; without a generator the same at each call."""
    k = len(turn.agents)
    rng = rng or np.random.default_rng(0)
    continuous = rng.uniform(-1, 1, (k, env.spec.continuous)).astype(np.float32)
    discrete = np.zeros((k, len(env.spec.branches)), np.int32)
    for column, choices in enumerate(env.spec.branches):
        discrete[:, column] = rng.integers(0, choices, k)
    return Action(continuous, discrete)
