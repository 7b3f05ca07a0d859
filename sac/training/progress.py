"""How far a run is: counters that survive, and the training returns and rates since the last report."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from sac.collect.rollout import RolloutStep

RECENT = 20  # training episodes in the shown return
NEWS_EVERY = 2.0  # seconds between two records of training returns


class Progress:
    """Counts transitions of all agents, complete episodes, iterations and seconds of training."""

    def __init__(self):
        self.steps = self.episodes = self.iterations = self.summarised = 0  # summarised: updates at the last summary
        self.lost = 0  # episodes that broke off: unusable numbers, a player that died
        self._returns: deque[float] = deque(maxlen=RECENT)
        self._lengths: deque[int] = deque(maxlen=RECENT)
        self._seconds, self._began = 0.0, time.monotonic()
        self._told, self._told_at = 0, 0.0  # episodes in the last news, and when that was
        self._mark = (self._began, 0, 0)  # time, steps, updates at the last rates

    @property
    def seconds(self) -> float:
        """Time in training, over all starts of the run."""
        return self._seconds + time.monotonic() - self._began

    def took_in(self, experience: RolloutStep, transitions: int) -> None:
        self.steps += transitions
        self.iterations += experience.iteration_ended
        self.lost += experience.lost
        for episode in experience.episodes:
            if episode.complete:
                self.episode_ended(episode.total_reward, episode.length)

    def episode_ended(self, total_reward: float, length: int) -> None:
        self.episodes += 1
        self._returns.append(total_reward)
        self._lengths.append(length)

    def news(self) -> dict[str, float]:
        """Mean return and length of the latest training episodes, if some ended since the last time (not too often)."""
        now = time.monotonic()
        if self.episodes == self._told or now - self._told_at < NEWS_EVERY:
            return {}
        self._told, self._told_at = self.episodes, now
        return {"episode/return": float(np.mean(self._returns)), "episode/length": float(np.mean(self._lengths))}

    def rates(self, updates: int) -> dict[str, float]:
        """Steps and updates a second since the last call, and episodes lost so far."""
        then, steps, before = self._mark
        now = time.monotonic()
        self._mark = now, self.steps, updates
        seconds = max(now - then, 1e-9)
        return {
            "rate/steps": (self.steps - steps) / seconds,
            "rate/updates": (updates - before) / seconds,
            "episode/lost": self.lost,
        }

    def state(self):
        names = ("steps", "episodes", "iterations", "summarised", "seconds", "lost")
        return {}, {name: getattr(self, name) for name in names}

    def restore(self, arrays, scalars) -> None:
        self.steps, self.episodes, self.iterations = (scalars[n] for n in ("steps", "episodes", "iterations"))
        self.summarised, self._seconds, self._began = scalars["summarised"], scalars["seconds"], time.monotonic()
        self.lost = scalars.get("lost", 0)  # checkpoints of earlier versions do not know
        self._told, self._mark = self.episodes, (self._began, self.steps, self.summarised)
