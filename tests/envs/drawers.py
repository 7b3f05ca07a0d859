"""Environments that draw their numbers where no seed of a reset reaches."""

from __future__ import annotations

import random

import gymnasium
import numpy as np
from gymnasium import spaces


class Drawer(gymnasium.Env):
    """Observes two numbers; its episodes last five steps. `draws` says where the numbers come from."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, draws: str) -> None:
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.goals = spaces.Dict({"x": spaces.Box(-1, 1, (2,), np.float32)})
        self.draws = draws
        self.many = {"x": [spaces.Discrete(5)], "y": spaces.Box(-1, 1, (2,), np.float32)}
        self.late = None
        self.made = {
            "constructor: np.random": lambda: np.random.uniform(-1, 1, 2),
            "constructor: random": lambda: [random.uniform(-1, 1), 0],
            "constructor: np_random": lambda: self.np_random.uniform(-1, 1, 2),
            "constructor: sample": lambda: self.observation_space.sample(),
            "constructor: default_rng": lambda: np.random.default_rng().uniform(-1, 1, 2),
            "constructor: seeding": lambda: gymnasium.utils.seeding.np_random(seed=None)[0].uniform(-1, 1, 2),
        }.get(draws, lambda: np.zeros(2))()

    def obs(self):
        drawn = {
            "np.random": lambda: np.random.uniform(-1, 1, 2),
            "random": lambda: [random.uniform(-1, 1), 0],
            "observation_space": lambda: self.observation_space.sample(),
            "action_space": lambda: np.repeat(self.action_space.sample(), 2),
            "another space": lambda: self.goals.sample()["x"],
            "a space in a dict": lambda: self.many["y"].sample(),
            "reset: default_rng": lambda: self.late.uniform(-1, 1, 2),
            "reset: no seed for np_random": lambda: self.np_random.uniform(-1, 1, 2),
        }.get(self.draws, lambda: self.made)()
        return np.array(drawn, np.float32)

    def reset(self, *, seed=None, options=None):
        if self.draws != "reset: no seed for np_random":
            super().reset(seed=seed)
        self.late = self.late or np.random.default_rng()
        self.t = 0
        return self.obs(), {}

    def step(self, action):
        self.t += 1
        obs = self.obs()
        return obs, float(obs.sum()), self.t >= 5, False, {}


class SharedSpace(Drawer):
    """Samples from spaces that belong to the class."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, draws: str = "") -> None:
        self.draws, self.late = "observation_space", None

    def obs(self):
        return self.observation_space.sample() + 0 * self.action_space.sample()


class Shell(gymnasium.Wrapper):
    """Replaces the observation by a sample of a space of its own."""

    def __init__(self, env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Dict({"x": spaces.Box(-3, 3, (2,), np.float32)})

    def reset(self, **kwargs):
        _, info = self.env.reset(**kwargs)
        return self.observation_space.sample(), info

    def step(self, action):
        return self.observation_space.sample(), *self.env.step(action)[1:]


DRAWS = (
    "np.random", "random", "observation_space", "action_space", "another space", "constructor: np.random",
    "constructor: random", "constructor: np_random", "constructor: sample", "constructor: default_rng",
    "constructor: seeding", "a space in a dict", "reset: default_rng", "reset: no seed for np_random",
)  # fmt: skip
gymnasium.register("Drawer-v0", Drawer)
gymnasium.register("SharedSpace-v0", SharedSpace)
gymnasium.register("Shell-v0", lambda **kwargs: Shell(Drawer("np.random")))
