"""Toy Gymnasium environments with a known course; worker processes import them by name."""

from __future__ import annotations

import os

import gymnasium
import numpy as np
from gymnasium import spaces


class Course(gymnasium.Env):
    """Observation (episode, t), reward 10 * episode + t. Lengths 2, 3, 4, 2, ...; odd episodes are time-outs.

    Writes every observation into one array, as some simulators do. `salt` of the reset options is added to episode.
    """

    observation_space = spaces.Box(-1e6, 1e6, (2,), np.float64)
    action_space = spaces.Box(-2.0, 4.0, (1,), np.float32)

    def __init__(self) -> None:
        self._obs = np.zeros(2)
        self.episode, self.t = -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        self._obs[:] = self.episode + (options or {}).get("salt", 0), 0
        return self._obs, {}

    def step(self, action):
        self.t += 1
        self._obs[1] = self.t
        done = self.t == 2 + self.episode % 3
        return (
            self._obs,
            10.0 * self.episode + self.t,
            done and self.episode % 2 == 0,
            done and self.episode % 2 == 1,
            {},
        )


class Fragile(gymnasium.Env):
    """Observation t in [1]; says something unusable where `wrong` tells: {(episode, t): 'obs' | 'reward'}."""

    observation_space = spaces.Dict({"time": spaces.Box(-1e6, 1e6, (1,), np.float32), "flag": spaces.Discrete(2)})
    action_space = spaces.Discrete(2)

    def __init__(self, wrong, length=4) -> None:
        self.wrong, self.length = wrong, length
        self.episode, self.t = -1, 0

    def _say(self):
        value = np.nan if self.wrong.get((self.episode, self.t)) == "obs" else self.t
        return {"time": np.array([value], np.float32), "flag": self.t % 2}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._say(), {}

    def step(self, action):
        self.t += 1
        reward = np.inf if self.wrong.get((self.episode, self.t)) == "reward" else 1.0
        return self._say(), reward, self.t == self.length, False, {}


class Masked(gymnasium.Env):
    """Forbids choice t % 3; in the final info choice 2; ends after `length` steps. `shape`: how the mask is given."""

    observation_space = spaces.Box(0, 10, (1,), np.float32)

    def __init__(self, shape="array", length=2) -> None:
        self.shape, self.length = shape, length
        one = spaces.Discrete(3)
        self.action_space = {
            "array": one,
            "tuple": spaces.MultiDiscrete([3, 2]),
            "dict": spaces.Dict({"a": spaces.Box(-1, 1, (1,)), "b": one, "c": spaces.Discrete(2)}),
            "none": one,
            "dead end": one,
        }[shape]

    def _info(self, forbidden):
        mask = np.ones(3, np.int8)
        mask[forbidden] = 0
        if self.shape == "none":
            return {}
        if self.shape == "tuple":
            return {"action_mask": (mask, np.array([1, 0], np.int8))}
        if self.shape == "dict":
            return {"action_mask": {"b": mask}}
        if self.shape == "dead end" and self.t == self.length:
            return {"action_mask": np.zeros(3, np.int8)}
        return {"action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), self._info(0)

    def step(self, action):
        self.t += 1
        done = self.t == self.length
        return np.full(1, self.t, np.float32), 0.0, done, False, self._info(2 if done else self.t % 3)


class Echo(gymnasium.Env):
    """Never ends; the last action is kept in `heard` and told in `info`; asserts that it lies in the space."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, action_space, observation_space=None) -> None:
        self.action_space = action_space
        self.observation_space = observation_space or Echo.observation_space
        self.heard = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(0)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.heard = action
        return self.observation_space.sample(), 0.0, False, False, {}


class Breaking(Echo):
    """Raises (`how` 'raise'), dies ('die') or sleeps at the second step."""

    def __init__(self, how) -> None:
        super().__init__(spaces.Discrete(2))
        self.how, self.steps = how, 0

    def step(self, action):
        self.steps += 1
        if self.steps == 2 and self.how == "raise":
            raise RuntimeError("wheel came off")
        if self.steps == 2 and self.how == "die":
            os._exit(7)
        return super().step(action)
