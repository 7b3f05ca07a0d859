"""Pendulum whose rewards are paid every 20 steps; importing this module registers it as `PendulumDelayed-v0`.

As in P3S (Jung et al., arXiv:2001.02907, section 4.3), whose MuJoCo tasks delay their rewards likewise.
"""

from __future__ import annotations

from typing import Any

import gymnasium

PAID_EVERY_STEPS = 20


class DelayedReward(gymnasium.Wrapper):
    """Sums rewards and pays them at every 20th step and at the end of an episode; between these steps it pays 0."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._owed, self._steps = 0.0, 0

    def reset(self, **options: Any) -> tuple[Any, dict]:
        self._owed, self._steps = 0.0, 0
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._owed, self._steps = self._owed + float(reward), self._steps + 1
        paid = 0.0
        if terminated or truncated or self._steps % PAID_EVERY_STEPS == 0:
            paid, self._owed = self._owed, 0.0
        return obs, paid, terminated, truncated, info


def make() -> gymnasium.Env:
    """The environment without a time limit of its own, which the registration adds."""
    return DelayedReward(gymnasium.make("Pendulum-v1").unwrapped)


gymnasium.register("PendulumDelayed-v0", make, max_episode_steps=200)
