"""Toy environments with observation and action spaces of the kinds that people bring."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv


class Answering(gymnasium.Env):
    """Each step asks a fresh question; the reward is 1 for the right choice. One step an episode."""

    def __init__(self, observation_space, choices) -> None:
        self.observation_space, self.action_space = observation_space, spaces.Discrete(choices)
        self.answer = 0

    def ask(self):
        raise NotImplementedError

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.ask(), {}

    def step(self, action):
        reward = float(action == self.answer)
        return self.ask(), reward, True, False, {}


class Board(Answering):
    """Which corner of a board of `side` squares is occupied? All values are 0 or `high`; `flat`: a vector."""

    def __init__(self, high=1, dtype="uint8", side=8, flat=False) -> None:
        self.high, self.side = high, side
        shape = (side * side,) if flat else (side, side, 1)
        super().__init__(spaces.Box(0, high, shape, np.dtype(dtype)), 4)

    def ask(self):
        self.answer = int(self.np_random.integers(4))
        board = np.zeros((self.side, self.side), self.observation_space.dtype)
        board[-(self.answer // 2), -(self.answer % 2)] = self.high
        return board.reshape(self.observation_space.shape)


class Legal(gymnasium.Env):
    """A random mask of four choices; an illegal choice costs 1. Three steps an episode.

    `where` the mask is: "obs" (a part of the observation), "method" (action_masks()), "both branches" (a method that
    returns a list of one mask for each of two branches).
    """

    def __init__(self, where="obs", dtype="int8") -> None:
        self.where = where
        view = spaces.Box(-1, 1, (2,), np.float32)
        mask = spaces.MultiBinary(4) if dtype == "bits" else spaces.Box(0, 1, (4,), np.dtype(dtype))
        self.observation_space = spaces.Dict(view=view, action_mask=mask) if where == "obs" else view
        self.action_space = spaces.MultiDiscrete([2, 2]) if where == "both branches" else spaces.Discrete(4)
        if where != "obs":
            self.action_masks = self._masks

    def _masks(self):
        return [self.mask[:2], self.mask[2:]] if self.where == "both branches" else self.mask.astype(bool)

    def _say(self):
        self.mask = np.zeros(4, np.int8)
        self.mask[self.np_random.integers(2)] = self.mask[2 + self.np_random.integers(2)] = 1
        view = np.array([self.t, self.mask @ [1, 2, 4, 8]], np.float32) / 20  # what the mask is can be seen here
        if self.where != "obs":
            return view
        return {"view": view, "action_mask": self.mask.astype(self.observation_space["action_mask"].dtype)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._say(), {}

    def step(self, action):
        self.t += 1
        chosen = action + np.array([0, 2]) if self.where == "both branches" else action
        reward = 0.0 if self.mask[chosen].all() else -1.0
        return self._say(), reward, self.t == 3, False, {}


class Objectives(gymnasium.Env):
    """Rewards of two numbers: (1, t)."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, told=True) -> None:
        if told:
            self.reward_space = spaces.Box(0, 10, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), np.array([1, self.t], np.float32), self.t == 4, False, {}


class Told(gymnasium.Env):
    """Says words beside numbers, as MiniGrid's mission: in gymnasium's Text or in a space of its own."""

    action_space = spaces.Discrete(2)

    def __init__(self, words="text", nested=False) -> None:
        said = spaces.Text(30) if words == "text" else Mission()
        self.nested = nested
        parts = {"mission": said, "view": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)}
        self.observation_space = spaces.Dict(all=spaces.Dict(parts)) if nested else spaces.Dict(parts)

    def _say(self):
        obs = {"mission": "get to the goal, ä", "view": np.full((7, 7, 3), self.t, np.uint8), "direction": self.t % 4}
        return {"all": obs} if self.nested else obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._say(), {}

    def step(self, action):
        self.t += 1
        return self._say(), 1.0, self.t == 5, False, {}


class Mission(gymnasium.Space):
    """A space of another package's own that holds words."""

    def __init__(self) -> None:
        super().__init__(dtype=str)

    def sample(self, mask=None, probability=None):
        return "somewhere"

    def contains(self, x):
        return isinstance(x, str)

    def __eq__(self, other):
        return isinstance(other, Mission)


def vector_of_counts(num_envs, mode="NextStep", spec_of_its_own=True):
    """A ready-made vector of `Told.view`-like counters, as other packages make them."""
    vector = SyncVectorEnv([Counter] * num_envs, autoreset_mode=mode)
    if spec_of_its_own:
        vector.spec = object()  # not Gymnasium's
    return vector


def vector_without_a_mode(num_envs):
    vector = SyncVectorEnv([Counter] * num_envs)
    del vector.metadata["autoreset_mode"]
    return vector


def no_vector(num_envs):
    return Counter()


class Counter(gymnasium.Env):
    """Observation t; ends after three steps."""

    observation_space = spaces.Box(0, 10, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, self.t == 3, False, {}
