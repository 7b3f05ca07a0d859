"""Any Gymnasium environment with some entries of its observation hidden, so that an agent needs a memory.

It is chosen by `base.build_path: envs.hidden_velocity:HiddenVelocity-v0` and
`base.env_kwargs: {env_id: Pendulum-v1, hidden: [2]}`; other keyword arguments go to the environment itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.gymnasium_adapter.make import env_maker
from sac.errors import UserError

ID = "HiddenVelocity-v0"


class HiddenVelocity(gymnasium.ObservationWrapper):
    """Leaves the entries `hidden` out of a vector observation; rewards and endings pass unchanged.

    Raises UserError when the observation is no vector, when an entry does not exist, or when no entry would be left.
    """

    def __init__(self, env: gymnasium.Env, hidden: Sequence[int]) -> None:
        super().__init__(env)
        if not isinstance(hidden, Sequence) or isinstance(hidden, str):
            raise UserError(f"base.env_kwargs.hidden={hidden}: allowed is a list of entries, e.g. [2]")
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise UserError(f"base.env_kwargs.hidden={list(hidden)}: entries of a vector can be hidden, not of {space}")
        n = space.shape[0]
        if not all(type(i) is int and 0 <= i < n for i in hidden) or len(set(hidden)) == n:
            raise UserError(
                f"base.env_kwargs.hidden={list(hidden)}: allowed are some, not all, of the entries 0 to {n - 1}"
            )
        self._kept = np.setdiff1d(np.arange(n), np.array(hidden, int))
        self.observation_space = spaces.Box(space.low[self._kept], space.high[self._kept], dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The entries that are not hidden."""
        return observation[self._kept]


def make(env_id: str, hidden: Sequence[int], render_mode: str | None = None, **env_kwargs: Any) -> gymnasium.Env:
    """The environment `env_id` (as base.build_path names it) without the entries `hidden`."""
    return HiddenVelocity(env_maker(env_id, render_mode, env_kwargs, {})(), hidden)


if ID not in gymnasium.registry:
    gymnasium.register(ID, entry_point="envs.hidden_velocity:make", disable_env_checker=True, order_enforce=False)
