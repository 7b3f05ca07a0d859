"""An environment that goes wrong at one place, for whole runs: `base.build_path=failing:Failing-v0`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium import spaces


class Failing(gymnasium.Env):
    """Episodes of 5 steps. From step `at` on `where` (step, reset, close, render or make) goes wrong `how`.

    Each first observation is added to the file `log`: of the environment's own generator, of `random` and of
    `np.random`. `once` names a file: where it exists nothing goes wrong, and what goes wrong makes it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}
    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    made = 0

    def __init__(self, where="", how="raise", at=0, log=None, once=None, render_mode=None) -> None:
        self.where, self.how, self.at, self.log, self.once = where, how, at, log, once
        self.render_mode = render_mode
        self.t = self.steps = 0
        if where == "another" and Failing.made:
            raise RuntimeError("only one instance may exist")
        Failing.made += 1

    def _perhaps(self, where: str) -> None:
        if where != self.where or self.steps < self.at or (self.once and Path(self.once).exists()):
            return
        if self.once:
            Path(self.once).touch()
        if self.how == "raise":
            raise RuntimeError("the simulator is gone")
        if self.how == "exit":
            sys.exit(0)
        if self.how == "interrupt":
            raise KeyboardInterrupt
        if self.how == "ctrl_c":  # it has reached the simulator as well
            os.kill(os.getpid(), signal.SIGINT)
            raise RuntimeError("the simulator is gone")
        if self.how == "die":
            os._exit(3)
        if self.how == "hang":
            Path("hangs").touch()
            time.sleep(300)

    def _look(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._perhaps("reset")
        self.t, obs = 0, self._look()
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{obs[0]:.6f} {random.random():.6f} {np.random.random():.6f}\n")
        return obs, {}

    def step(self, action):
        self.t, self.steps = self.t + 1, self.steps + 1
        self._perhaps("step")
        return self._look(), -float(np.abs(action).sum()), self.t == 5, False, {}

    def render(self):
        self._perhaps("render")
        return np.full((32, 32, 3), 40 * self.t, np.uint8)

    def close(self) -> None:
        self._perhaps("close")


gymnasium.register("Failing-v0", Failing)
