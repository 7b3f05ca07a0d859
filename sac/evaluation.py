"""Deterministic evaluation: a fixed number of episodes, evenly spread over the agents."""

from __future__ import annotations

from collections import deque

import numpy as np

from sac.rollout import Behaviour, Episode, Rollout
from sac.types import Env


def evaluate(env: Env, behaviour: Behaviour, episodes: int, stop=lambda: False) -> list[Episode]:
    """Plays `episodes` episodes, as many with each agent, and returns them.

    Fixed shares matter: the first so many episodes to *finish* would be the short ones. A `stop()` that turns true
    ends it early with what there is.
    """
    rollout, played = Rollout(env, behaviour), []
    counts: dict[int, int] = {}
    agents = max(1, env.n_agents)
    for experience in rollout:
        for episode in experience.episodes:
            share = episodes // agents + (episode.slot < episodes % agents)
            if episode.complete and counts.get(episode.slot, 0) < share:
                counts[episode.slot] = counts.get(episode.slot, 0) + 1
                played.append(episode)
        if len(played) >= episodes or stop():
            return played
    return played


class Scores:
    """Returns of the last `window` evaluation episodes."""

    def __init__(self, window: int):
        self.returns: deque[float] = deque(maxlen=window)

    def add(self, episodes: list[Episode]) -> dict[str, float]:
        """Takes one evaluation in and returns its statistics with those of the window."""
        totals = [e.total_reward for e in episodes]
        self.returns.extend(totals)
        return {
            "eval/return": float(np.mean(totals)),
            "eval/return_std": float(np.std(totals)),
            "eval/return_min": float(np.min(totals)),
            "eval/return_max": float(np.max(totals)),
            "eval/length": float(np.mean([e.length for e in episodes])),
            "eval/return_window": self.mean,
        }

    @property
    def mean(self) -> float | None:
        """Mean of the window; None before the first evaluation."""
        return float(np.mean(self.returns)) if self.returns else None

    @property
    def full(self) -> bool:
        return len(self.returns) == self.returns.maxlen
