"""Deterministic evaluation: a fixed number of episodes, evenly spread over the agents."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

import numpy as np

from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.collect.rollout import Behaviour, Episode, Rollout
from sac.evaluation.q_bias import QBias
from sac.types import Env


def fair_episodes(rollout: Rollout, episodes: int, q_bias: QBias | None = None) -> Iterator[list[Episode]]:
    """Plays until `episodes` episodes have counted, as many with each agent; yields those of every turn.

    `outlook` sees every row and the episodes that count.

    Fixed shares matter: the first so many episodes to *finish* would be the short ones. What a lost agent leaves
    undone is shared out among the others once they have done theirs. All start anew when every agent that still has
    to play idles, since a limit has ended its episode and its environment has not.
    """
    agents, total, more = max(1, rollout.env.n_agents), 0, 0
    counts: Counter[int] = Counter()

    def missing(slot: int) -> int:
        return episodes // agents + (slot < episodes % agents) + more - counts[slot]

    for experience in rollout:
        counted = []
        for episode in experience.episodes:
            if episode.complete and missing(episode.slot) > 0 and total < episodes:
                counts[episode.slot] += 1
                total += 1
                counted.append(episode)
        if q_bias is not None:
            q_bias.see(experience.step)
            q_bias.count(counted)
        yield counted
        if total >= episodes:
            return
        waited_for = [slot for slot in rollout.present if missing(slot) > 0]
        more += bool(rollout.present) and not waited_for
        if waited_for and rollout.idle.issuperset(waited_for):
            rows = rollout.restart()
            if q_bias is not None:
                q_bias.see(rows)


def evaluate(
    env: Env, behaviour: Behaviour, episodes: int, stop=lambda: False, q_bias: QBias | None = None,
    limit: EpisodeLimit = NO_LIMIT,
) -> list[Episode]:  # fmt: skip
    """The episodes of one evaluation; a `stop()` that turns true ends it early with what there is."""
    played: list[Episode] = []
    for counted in fair_episodes(Rollout(env, behaviour, limit=limit), episodes, q_bias):
        played += counted
        if stop():
            break
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
