"""When deterministic episodes are played while a run trains, and what they said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.collect.rollout import Behaviour
from sac.evaluation.episodes import Scores, evaluate
from sac.evaluation.q_bias import QBias
from sac.seeds import own_generators, seed_generators
from sac.types import Env


class Evaluator:
    """Plays `episodes` episodes every `per_step` environment steps; the environment is opened when first needed.

    `behaviour(seed)` makes the greedy behaviour, `stop()` cuts an evaluation short, which then counts for nothing;
    `limit(env)` is that of an episode; `outlook()`, where given, makes what compares the critics with the returns.
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
        self._outlook, self._limit_in = q_bias, limit
        self._env: Env | None = None
        self._limit = NO_LIMIT
        self._next = per_step
        self._last = -1  # step of the last evaluation
        self.latest: tuple[int, float] | None = None  # step and mean return of this process's last evaluation

    def due(self, steps: int) -> bool:
        return self.per_step > 0 and steps >= self._next

    def behind(self, steps: int) -> bool:
        """Whether the end of training still lacks its evaluation."""
        return self.per_step > 0 and self._last != steps

    def run(self, steps: int) -> dict[str, float]:
        """Plays; returns statistics, none when it was cut short. What is played depends on seed and `steps` alone."""
        while self.due(steps):
            self._next += self.per_step
        q_bias, seed = self._outlook(), self._seed + steps
        with own_generators(seed):  # environments that draw from them in training go on as if nobody had evaluated
            if self._env is None:
                self._env = self._open_env()
                self._limit = self._limit_in(self._env)
                seed_generators(seed)
            self._env.reset(seed)
            behaviour = self._behaviour(seed)
            episodes = evaluate(self._env, behaviour, self.episodes, self._stop, q_bias, self._limit)
        if len(episodes) < self.episodes:
            return {}
        self._last = steps
        found = self.scores.add(episodes)
        self.latest = steps, found["eval/return"]
        return found | (q_bias.metrics() if q_bias else {})

    def state(self):
        return {"returns": np.array(self.scores.returns, np.float64)}, {"next": self._next, "last": self._last}

    def restore(self, arrays, scalars) -> None:
        self.scores.returns.extend(arrays["returns"].tolist())
        self._next, self._last = scalars["next"], scalars["last"]
