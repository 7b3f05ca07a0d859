"""Makes the environment, and says how its observations are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac.config.schema import Config
from sac.reset_values import last_values
from sac.types import Env

if TYPE_CHECKING:
    from envs.gymnasium_adapter.reading import Reading


def make_env(
    config: Config, *, seed: int, n_agents: int | None = None, render_mode: str | None = None,
    port: int | None = None, log_folder: Path, reset: Mapping[str, Any] | None = None,
) -> Env:  # fmt: skip
    """An environment of the configured kind, whose randomness depends on `seed` alone.

    `reset` are the values of its reset parameters; None takes those of the last lessons. Raises UserError when it
    cannot start.
    """
    from envs.joint_branches import join_branches

    base, reset = config.base, last_values(config.reset) if reset is None else reset
    n = n_agents or base.n_agents
    if base.env_type == "GYM":
        from envs.gymnasium_adapter.build import build_gym_env

        env: Env = build_gym_env(
            base.build_path, n, base.vectorization, reset_options=reset,
            render_mode=render_mode, env_kwargs=base.env_kwargs, reading=make_reading(config),
            reward_weights=base.reward_weights, seed=seed,
        )  # fmt: skip
    else:
        from envs.unity_adapter.env import UnityEnv

        env = UnityEnv(
            build_path=base.build_path, scene=base.scene, port=port or base.port, n_agents=n, seed=seed,
            no_graphics=base.no_graphics and render_mode is None, editor=base.editor, reset_parameters=reset,
            time_scale=base.time_scale if render_mode is None else 1.0, timeout=base.timeout, log_folder=log_folder,
            behavior=base.behavior, adds_group_rewards=base.group_rewards == "add",
        )  # fmt: skip
    return join_branches(env, config.sac.branch_product_max)


def make_reading(config: Config) -> Reading:
    """How the observations of a Gymnasium environment are read."""
    from envs.gymnasium_adapter.reading import Reading

    base = config.base
    return Reading(base.scale_by == "bounds", base.channels, base.action_mask)
