"""Deterministic evaluation: a fixed number of episodes, evenly spread over the agents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from sac.collect.agent_slots import Episode
from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.collect.rollout import Behaviour, Rollout
from sac.evaluation.recorder import EpisodeWatcher
from sac.types import Env


def fair_episodes(rollout: Rollout, episodes: int, watcher: EpisodeWatcher | None = None) -> Iterator[list[Episode]]:
    """Plays until `episodes` episodes have counted, the same number for each agent; yields those of every turn.

    `watcher` gets every row and the episodes that count.

    The shares are fixed because the first episodes to *finish* would be the short ones. When an agent is lost, the
    other agents play the rest of its share after their own. All agents start anew when each agent with episodes left
    to play is idle: the rollout's limit has ended its episode and the environment has not.
    """
    agents, total, extra = max(1, rollout.env.n_agents), 0, 0
    counts: Counter[int] = Counter()

    def missing(slot: int) -> int:
        return episodes // agents + (slot < episodes % agents) + extra - counts[slot]

    for rollout_step in rollout:
        counted = []
        for episode in rollout_step.episodes:
            if episode.complete and missing(episode.slot) > 0 and total < episodes:
                counts[episode.slot] += 1
                total += 1
                counted.append(episode)
        if watcher is not None:
            watcher.add_rows(rollout_step.step)
            watcher.add_episodes(counted)
        yield counted
        if total >= episodes:
            return
        unfinished = [slot for slot in rollout.present if missing(slot) > 0]
        extra += bool(rollout.present) and not unfinished
        if unfinished and rollout.idle.issuperset(unfinished):
            rows = rollout.restart()
            if watcher is not None:
                watcher.add_rows(rows)


def evaluate(
    env: Env,
    behaviour: Behaviour,
    episodes: int,
    stop: Callable[[], bool] = lambda: False,
    watcher: EpisodeWatcher | None = None,
    limit: EpisodeLimit = NO_LIMIT,
) -> list[Episode]:
    """The episodes of one evaluation; it ends early, with fewer episodes, once `stop()` is true."""
    played: list[Episode] = []
    for counted in fair_episodes(Rollout(env, behaviour, limit=limit), episodes, watcher):
        played += counted
        if stop():
            break
    return played
