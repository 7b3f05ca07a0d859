"""From the id of a Gymnasium environment to a GymEnv, whose sub-environments run here, in workers or as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from envs.gymnasium_adapter.action_space import ActionSpace
from envs.gymnasium_adapter.env import GymEnv
from envs.gymnasium_adapter.env_seeds import independent_seeds, seeded_construction
from envs.gymnasium_adapter.make import EnvMaker, env_maker
from envs.gymnasium_adapter.observation_space import ObservationSpace
from envs.gymnasium_adapter.own_vector import make_own_vector
from envs.gymnasium_adapter.reading import DEFAULT_READING, Reading
from envs.gymnasium_adapter.workers import make_workers
from sac.errors import UserError


def build_gym_env(
    env_id: str,
    n_agents: int = 1,
    vectorization: str = "sync",
    reset_options: Mapping[str, Any] | None = None,
    render_mode: str | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    reading: Reading = DEFAULT_READING,
    reward_weights: Sequence[float] = (),
    seed: int | None = None,
) -> GymEnv:
    """The environment `env_id` with `n_agents` agents.

    `vectorization`: `sync` steps all sub-environments in this process, `async` gives each its own process, and `own`
    takes the vector environment that the id makes by itself. Constructors and the first reset draw from `seed`.
    Raises UserError for unknown ids, missing packages and spaces that have no form here.
    """
    if n_agents < 1 or vectorization not in ("sync", "async", "own"):
        raise UserError(f"n_agents={n_agents} (at least 1), vectorization={vectorization} (sync, async or own)")
    if vectorization == "own":
        with seeded_construction(seed):
            own = make_own_vector(env_id, n_agents, render_mode, env_kwargs or {})
        return GymEnv(own, env_id, reset_options, reading, seed)
    maker = env_maker(env_id, render_mode, env_kwargs or {}, reset_options or {}, reward_weights, reading.mask)
    makers = (
        [maker] * n_agents if seed is None else [replace(maker, seed=own) for own in independent_seeds(seed, n_agents)]
    )
    if vectorization == "sync":
        local = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        return GymEnv(local, env_id, reset_options, reading, seed, local.envs[0])
    single, has_text = _looked_at(makers[0], reading)
    workers = make_workers(makers, shared_memory=not has_text)
    return GymEnv(workers, env_id, reset_options, reading, seed, single)


def _looked_at(maker: EnvMaker, reading: Reading) -> tuple[gymnasium.Env, bool]:
    """One sub-environment, which is closed again, and whether it observes text. Raises UserError for its spaces.

    A space without a form here is refused by this before any worker process starts.
    """
    single = maker()
    try:
        has_text = ObservationSpace(single.observation_space, reading=reading).has_text
        ActionSpace(single.action_space)
    finally:
        single.close()
    return single, has_text
