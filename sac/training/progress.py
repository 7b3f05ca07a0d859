"""How far a run is: counters that checkpoints keep, and the training returns and rates since the last report."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sac.collect.rollout import RolloutStep
from sac.runs.checkpoint_files import State

RECENT_EPISODES = 20  # training episodes of which the mean return is recorded
RETURNS_INTERVAL_SECONDS = 2.0  # between two records of training returns


class Progress:
    """Counts transitions of all agents, complete episodes, iterations and seconds of training."""

    def __init__(self) -> None:
        self.steps = self.episodes = self.iterations = 0
        self.summarised = 0  # updates at the last summary
        self.lost = 0  # episodes that broke off, because of unusable numbers or a dead player
        self.on_episode: Callable[[float, int], None] = lambda *_: None  # is told return, length of a complete episode
        self._returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self._lengths: deque[int] = deque(maxlen=RECENT_EPISODES)
        self._seconds, self._began = 0.0, time.monotonic()
        self._told_episodes, self._told_at_seconds = 0, 0.0  # of the last record of returns
        self._last_rates = (self._began, 0, 0)  # time, steps, updates

    @property
    def seconds(self) -> float:
        """Seconds of training, summed over all starts of the run."""
        return self._seconds + time.monotonic() - self._began

    def add(self, rollout_step: RolloutStep, transitions: int) -> None:
        """Counts one step of the rollout, which has brought so many transitions."""
        self.steps += transitions
        self.iterations += rollout_step.iteration_ended
        self.lost += rollout_step.lost
        for episode in rollout_step.episodes:
            if episode.complete:
                self.episode_ended(episode.total_reward, episode.length)

    def episode_ended(self, total_reward: float, length: int) -> None:
        """Counts a complete episode of `length` steps."""
        self.episodes += 1
        self._returns.append(total_reward)
        self._lengths.append(length)
        self.on_episode(total_reward, length)

    def news(self) -> dict[str, float]:
        """Mean return and length of the latest training episodes.

        Empty when no episode has ended since the last call that returned some, or when that call was too recent.
        """
        now = time.monotonic()
        if self.episodes == self._told_episodes or now - self._told_at_seconds < RETURNS_INTERVAL_SECONDS:
            return {}
        self._told_episodes, self._told_at_seconds = self.episodes, now
        return {"episode/return": float(np.mean(self._returns)), "episode/length": float(np.mean(self._lengths))}

    def rates(self, updates: int) -> dict[str, float]:
        """Steps and updates per second since the last call, and episodes lost so far."""
        then, steps, before = self._last_rates
        now = time.monotonic()
        self._last_rates = now, self.steps, updates
        seconds = max(now - then, 1e-9)
        return {
            "rate/steps": (self.steps - steps) / seconds,
            "rate/updates": (updates - before) / seconds,
            "episode/lost": self.lost,
        }

    def state(self) -> State:
        names = ("steps", "episodes", "iterations", "summarised", "seconds", "lost")
        return {}, {name: getattr(self, name) for name in names}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        self.steps, self.episodes, self.iterations = (scalars[n] for n in ("steps", "episodes", "iterations"))
        self.summarised, self._seconds, self._began = scalars["summarised"], scalars["seconds"], time.monotonic()
        self.lost = scalars.get("lost", 0)  # checkpoints of earlier versions do not hold it
        self._told_episodes, self._last_rates = self.episodes, (self._began, self.steps, self.summarised)
