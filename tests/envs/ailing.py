"""An environment with one fault: `base.build_path=ailing:Ailing-v0 base.env_kwargs.fault=...`, for the doctor."""

from __future__ import annotations

import random

import gymnasium
import numpy as np
from gymnasium import spaces

LENGTH = 12  # of an episode, on average


class Ailing(gymnasium.Env):
    """A point that drifts on a line; without a fault it terminates far from the middle and is truncated after 30 steps.

    `masked` adds four choices with a mask.
    """

    def __init__(self, fault: str = "", masked: bool = False) -> None:
        self.fault, self.masked = fault, masked
        self.observation_space = spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = spaces.Discrete(4) if masked else spaces.Box(-2, 2, (1,), np.float32)
        if fault == "constructor":
            raise RuntimeError("no licence")
        self.x, self.t = 0.0, 0

    def action_masks(self) -> np.ndarray:
        mask = np.array([True, True, True, self.t % 2 == 0])
        return {"no choice": np.zeros(4, bool), "inverted mask": np.arange(4) == self.t % 4}.get(self.fault, mask)

    def _obs(self) -> np.ndarray:
        obs = np.array([self.x, np.sin(self.t), 0.5 * self.x], np.float32)
        if self.fault == "constant":
            obs[:] = 0.25
        if self.fault == "large":
            obs = obs * 900 + 100
        if self.fault == "outside":
            obs = obs * 3
        if self.fault == "not a number" and self.t == 3:
            obs[1] = np.nan
        return obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        rng = random.SystemRandom() if self.fault == "seed" else self.np_random
        if self.fault != "no reset" or self.t == 0:
            self.x = float(rng.uniform(-0.2, 0.2))
            self.t = 0
        return self._obs(), {}

    def step(self, action):
        push = float(np.ravel(action)[0])
        if self.fault == "ends of the actions" and abs(push) > 1.9999:
            raise ValueError("the motor is overloaded")
        if self.fault == "step" and self.t == 4:
            raise RuntimeError("the simulator is gone")
        self.x = float(np.clip(self.x + 0.1 * push + 0.05 * self.np_random.normal(), -1, 1))
        if self.fault != "no reset":
            self.t += 1
        terminated, truncated = abs(self.x) > 0.6, self.t >= 30
        if self.fault == "no end":
            terminated = truncated = False
        if self.fault in ("time limit", "same return"):
            terminated, truncated = self.t >= LENGTH, False
        if self.fault == "one step":
            terminated = True
        reward = 1.0 - abs(self.x)
        reward *= {"huge": 1e5, "tiny": 1e-6, "no reward": 0.0}.get(self.fault, 1.0)
        if self.fault == "same return":
            reward, truncated = 1.0, False
        return self._obs(), reward, terminated, truncated, {}


gymnasium.register("Ailing-v0", Ailing)
