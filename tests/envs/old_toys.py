"""A toy environment in the style of gym 0.21: `reset()` returns the observation only, `step` four values."""

from __future__ import annotations

import warnings

import numpy as np

from envs.adapters import old_gym  # imports gym without its notice
from envs.adapters.old_gym import gym


class OldStyle(gym.Env):
    """Counts; never ends by itself; its registration gives it a time limit of 5 steps."""

    observation_space = gym.spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2, start=1)

    def seed(self, seed=None):
        return [seed]

    def reset(self):
        self.t = 0
        return np.zeros(1, np.float32)

    def step(self, action):
        assert action in (1, 2), action
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, False, {}


def register():
    if old_gym.find("OldStyle-v0") is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gym.register("OldStyle-v0", entry_point=OldStyle, max_episode_steps=5)
