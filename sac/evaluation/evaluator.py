"""Evaluations at fixed steps of a training run, and their scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sac.collect.agent_slots import Episode
from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.collect.rollout import Behaviour
from sac.evaluation.episodes import evaluate
from sac.evaluation.q_bias import QBias
from sac.seeds import own_generators, seed_generators
from sac.types import Env


class Scores:
    """Returns of the last `window` evaluation episodes."""

    def __init__(self, window: int):
        self.returns: deque[float] = deque(maxlen=window)

    def add(self, episodes: Sequence[Episode]) -> dict[str, float]:
        """Takes in the episodes of one evaluation (at least one); its statistics and the mean of the window."""
        totals = [e.total_reward for e in episodes]
        self.returns.extend(totals)
        return {
            "eval/return": float(np.mean(totals)),
            "eval/return_std": float(np.std(totals)),
            "eval/return_min": float(np.min(totals)),
            "eval/return_max": float(np.max(totals)),
            "eval/length": float(np.mean([e.length for e in episodes])),
            "eval/return_window": float(np.mean(self.returns)),
        }

    @property
    def mean(self) -> float | None:
        """Mean return of the window; None before the first evaluation."""
        return float(np.mean(self.returns)) if self.returns else None

    @property
    def full(self) -> bool:
        """Whether as many episodes were played as the window holds."""
        return len(self.returns) == self.returns.maxlen


class Evaluator:
    """Plays `episodes` episodes every `per_step` environment steps; opens the environment at the first evaluation.

    `behaviour(seed)` makes the behaviour that plays. Once `stop()` is true, the evaluation ends early and counts for
    nothing. `limit(env)` is the limit of an episode's steps. `q_bias()` makes what compares the critics with the
    returns, or None.
    """

    def __init__(
        self,
        per_step: int,
        episodes: int,
        window: int,
        seed: int,
        open_env: Callable[[], Env],
        behaviour: Callable[[int], Behaviour],
        stop: Callable[[], bool],
        q_bias: Callable[[], QBias | None] = lambda: None,
        limit: Callable[[Env], EpisodeLimit] = lambda _: NO_LIMIT,
    ):
        self.per_step, self.episodes, self.scores = per_step, episodes, Scores(window)
        self._seed, self._open_env, self._behaviour, self._stop = seed, open_env, behaviour, stop
        self._make_q_bias, self._make_limit = q_bias, limit
        self._env: Env | None = None
        self._limit = NO_LIMIT
        self._next = per_step
        self._last = -1  # step of the last evaluation
        self.latest: tuple[int, float] | None = None  # step and mean return of this process's last evaluation

    def due(self, steps: int) -> bool:
        """Whether an evaluation is due after so many environment steps."""
        return self.per_step > 0 and steps >= self._next

    def behind(self, steps: int) -> bool:
        """Whether the networks at the end of training, after so many steps, are still to be evaluated."""
        return self.per_step > 0 and self._last != steps

    def run(self, steps: int) -> dict[str, float]:
        """Plays; the statistics, or none when it was cut short. The random numbers depend on seed and `steps` only."""
        while self.due(steps):
            self._next += self.per_step
        q_bias, seed = self._make_q_bias(), self._seed + steps
        with own_generators(seed):  # the global generators of the training environments stay as they are
            env = self._opened(seed)
            env.reset(seed)
            episodes = evaluate(env, self._behaviour(seed), self.episodes, self._stop, q_bias, self._limit)
        if len(episodes) < self.episodes:
            return {}
        self._last = steps
        found = self.scores.add(episodes)
        self.latest = steps, found["eval/return"]
        return found | (q_bias.metrics() if q_bias else {})

    def _opened(self, seed: int) -> Env:
        if self._env is None:
            self._env = self._open_env()
            self._limit = self._make_limit(self._env)
            seed_generators(seed)  # opening may have drawn from them
        return self._env

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """What a checkpoint holds: the returns of the window, and the steps of the last and the next evaluation."""
        return {"returns": np.array(self.scores.returns, np.float64)}, {"next": self._next, "last": self._last}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        self.scores.returns.extend(arrays["returns"].tolist())
        self._next, self._last = scalars["next"], scalars["last"]
