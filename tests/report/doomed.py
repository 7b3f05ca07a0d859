"""Runs made to collapse on purpose, and one that is well: real runs of run.py, with tiny networks."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "runs")]

from short_runs import PENDULUM  # noqa: E402

STEPS = 20  # of an episode


class Push(gymnasium.Env):
    """Reward is the action; what is seen says nothing. `spikes`: how often the second number is a thousand.

    `ends`: whether an episode's end is a true one. `nan_at`: the step of all whose reward is NaN.
    `scale`: of rewards.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, spikes=0.0, ends=True, nan_at=-1, scale=1.0, **_):
        self.spikes, self.ends, self.nan_at, self.scale = spikes, ends, nan_at, scale
        self.count = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._look(), {}

    def step(self, action):
        self.t += 1
        self.count += 1
        over = self.t >= STEPS
        reward = np.nan if self.count == self.nan_at else self.scale * float(action[0])
        return self._look(), reward, over and self.ends, over and not self.ends, {}

    def _look(self):
        return np.array([self.np_random.normal(), 1e3 * (self.np_random.random() < self.spikes)], np.float32)


class Still(Push):
    """Reward is the less the more is done in six directions."""

    action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)

    def step(self, action):
        obs, _, *ends = super().step(action)
        return obs, -float(np.mean(np.square(action))), *ends


class Door(Push):
    """One choice leads out and pays 1, the other pays nothing."""

    action_space = gymnasium.spaces.Discrete(2)

    def step(self, action):
        obs, _, over, cut, info = super().step([0.0])
        return obs, float(action), bool(action), (over or cut) and not action, info


gymnasium.register("Door-v0", Door)
gymnasium.register("Push-v0", Push)
gymnasium.register("Still-v0", Still)

COMMON = (*PENDULUM, "base.build_path=Push-v0", "sac.write_summary_per_step=20", "eval.per_step=100", "eval.episodes=2",
          "replay.batch_size=32", "sac.learning_rate=0.003")  # fmt: skip

# name: (what differs from a run that is well, titles of the warnings that it must give)
RUNS = {
    "well": (["base.max_step=500", "sac.use_normalization=true"], set()),
    "alpha": (
        ["base.max_step=400", "sac.init_log_alpha=-10", "sac.use_auto_alpha=false", "sac.learning_rate=0.02"],
        {"Alpha has collapsed", "Actions are saturated"},
    ),
    "hot": (
        ["base.max_step=250", "sac.init_log_alpha=2", "sac.use_auto_alpha=false"],
        {"Alpha is at its upper end", "Entropy outweighs the rewards"},
    ),
    "spikes": (
        ["base.max_step=400", "sac.use_normalization=true", "base.env_kwargs={spikes: 0.005}"],
        {"The normaliser clips"},
    ),
    # never acts by its policy while it learns, so nothing contradicts what the critics make up
    "dreams": (
        ["base.max_step=800", "base.build_path=Still-v0", "replay.random_steps=1000", "sac.gamma=0.999", "sac.tau=1",
         "sac.learning_rate=0.01", "sac.updates_per_step=8", "sac.init_log_alpha=-10", "sac.use_auto_alpha=false"],
        {"Q is far above the returns", "Alpha has collapsed"},
    ),
    # whoever stays is paid for as much entropy as the door is worth within a few steps
    "idle": (
        ["base.max_step=500", "base.build_path=Door-v0", "sac.tau=0.05", "sac.init_log_alpha=-1",
         "sac.use_auto_alpha=false", "sac.soft_target=true"],
        {"Entropy outweighs the rewards"},
    ),
    "out": (
        ["base.max_step=500", "base.build_path=Door-v0", "sac.tau=0.05", "sac.init_log_alpha=-1",
         "sac.use_auto_alpha=false"],
        set(),
    ),
    "lossy": (["base.max_step=150", "base.env_kwargs={nan_at: 50}"], {"Episodes were lost"}),
}  # fmt: skip
# warnings that such a run may give as well, depending on how the processor rounds
MAY_GIVE = {"dreams": {"Actions are saturated"}}
# resumed with another ratio
RESUMED = (["base.max_step=100"], ["ckpt=latest", "base.max_step=500", "sac.updates_per_step=0.25"])
