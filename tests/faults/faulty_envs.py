"""Environments that do one thing at one step, as factories for `sac.roles.train.train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "envs"), str(ROOT / "tests" / "runs")]

from scripted import ScriptedEnv  # noqa: E402


class At(ScriptedEnv):
    """Calls `act(env)` before the steps that `moments` names."""

    def __init__(self, n_agents: int, moments: dict[int, Callable]):
        super().__init__(n_agents)
        self.count, self.moments, self.reward_scale = 0, moments, 1.0

    def step(self, action):
        self.count += 1
        if self.count in self.moments:
            self.moments[self.count](self)
        turn = super().step(action)
        turn.reward *= self.reward_scale
        return turn


def factory(moments: dict[int, Callable]):
    """The training environment does it; later ones (evaluation) do not."""
    made = []

    def make_env(config, *, n_agents=None, **_):
        made.append(At(n_agents or config.base.n_agents, {} if made else moments))
        return made[-1]

    return make_env


def send(number: int) -> Callable:
    return lambda _: os.kill(os.getpid(), number)
