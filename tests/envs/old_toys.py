"""A toy environment in the style of gym 0.21: `reset()` returns the observation only, `step` four values."""

from __future__ import annotations

import warnings

import numpy as np

from envs.gymnasium_adapter import old_gym  # imports gym without its notice
from envs.gymnasium_adapter.old_gym import gym


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


class OldDrawer(OldStyle):
    """Observes what its generator, its constructor, its space and NumPy's global generator draw."""

    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.observation_space = gym.spaces.Box(-10.0, 10.0, (2,), np.float32)
        self.seed()
        self.made = self.rng.uniform()

    def seed(self, seed=None):
        self.rng, seed = gym.utils.seeding.np_random(seed)
        return [seed]

    def obs(self):
        drawn = self.rng.uniform(), self.made + self.observation_space.sample()[0] + np.random.uniform()
        return np.array(drawn, np.float32)

    def reset(self):
        super().reset()
        return self.obs()

    def step(self, action):
        self.t += 1
        return self.obs(), 1.0, False, {}


def register():
    for name, toy in (("OldStyle-v0", OldStyle), ("OldDrawer-v0", OldDrawer)):
        if old_gym.find(name) is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                gym.register(name, entry_point=toy, max_episode_steps=5)
