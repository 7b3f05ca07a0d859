"""A learner that belongs to a population: it reports how good it is to the evolver and takes networks from it."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sac.evaluation.evaluator import Evaluator
from sac.population.client import EvolverClient
from sac.training.learner import Diverged
from sac.training.progress import Progress
from sac.training.source import TransitionSource

log = logging.getLogger(__name__)
EVOLVER_TIMEOUT_SECONDS = 60.0  # time in which the evolver must answer a learner that has diverged
MAX_BACKOFF_SECONDS = 60.0  # longest pause before a learner that diverges again and again reports it
PUMP_SECONDS = 0.05  # between two looks at the connections while a diverged learner waits


class Fitness(ABC):
    """Measures how good a learner is; `evaluator` plays its evaluations, whether or not these are the measurements."""

    def __init__(self, evaluator: Evaluator):
        self._evaluator = evaluator

    @abstractmethod
    def news(self, at_once: bool = False) -> tuple[int, float] | None:
        """The environment steps and the value of the newest measurement; None when it was returned before.

        With `at_once` it tells what there is, though a whole measurement has more.
        """

    def forget(self) -> None:
        """The learner has other networks: measurements and evaluations of the former ones do not count."""
        self._evaluator.scores.returns.clear()


class EvaluationReturns(Fitness):
    """The mean return of each evaluation."""

    def __init__(self, evaluator: Evaluator):
        super().__init__(evaluator)
        self._told = evaluator.latest

    def news(self, at_once: bool = False) -> tuple[int, float] | None:
        latest = self._evaluator.latest
        if latest is None or latest == self._told:
            return None
        self._told = latest
        return latest


class TrainingReturns(Fitness):
    """The mean return of as many training episodes as the learner has agents; they cost no steps of their own.

    Episodes that began before the learner was changed do not count: each agent has made its share of the steps since.
    """

    def __init__(self, evaluator: Evaluator, progress: Progress, agents: Callable[[], int]):
        super().__init__(evaluator)
        self._progress, self._agents = progress, agents
        self._returns: list[float] = []  # not reported yet
        self._changed_at_step: int | None = None
        progress.on_episode = self._add

    def news(self, at_once: bool = False) -> tuple[int, float] | None:
        if len(self._returns) < (1 if at_once else max(1, self._agents())):
            return None
        value, self._returns = float(np.mean(self._returns)), []
        return self._progress.steps, value

    def forget(self) -> None:
        super().forget()
        self._returns, self._changed_at_step = [], self._progress.steps

    def _add(self, total_reward: float, length: int) -> None:
        changed = self._changed_at_step
        if changed is None or length * self._agents() <= self._progress.steps - changed:
            self._returns.append(total_reward)


class EvolvingSource:
    """A TransitionSource around another one: it also reports to the evolver and applies its changes.

    `publish()` tells those who act with other networks, `wait(seconds)` passes time while a diverged learner waits.
    When the evolver does not answer in time, Diverged is raised again and the run loads its checkpoint, as a learner
    without a population does.
    """

    def __init__(
        self, inner: TransitionSource, line: EvolverClient, fitness: Fitness, progress: Progress,
        publish: Callable[[], None], wait: Callable[[float], None],
    ):  # fmt: skip
        self._inner, self._line, self._fitness, self._progress = inner, line, fitness, progress
        self._publish, self._pause = publish, wait
        self._divergence: Diverged | None = None  # as long as no other networks have come
        self._diverged_at_seconds = 0.0
        self._divergences_in_a_row = 0  # without a measurement between them
        line.on_change = self._changed

    def advance(self) -> bool:
        news = self._fitness.news()
        if news is not None and self._divergence is None:
            self._divergences_in_a_row = 0
            self._line.evaluated(*news)
        self._line.turn()
        if self._divergence is None:
            return self._inner.advance()
        self._wait(self._divergence)
        return False

    def finish(self) -> None:
        """Reports the newest measurement, and that the run is over."""
        news = self._fitness.news(at_once=True)
        if news is not None and self._divergence is None:
            self._line.evaluated(*news)
        self._line.finish()

    def on_divergence(self, error: Diverged) -> bool:
        """Returns True while the evolver is asked for other networks, and False once it has not answered in time."""
        if error is self._divergence:  # `_wait` has raised it again
            self._divergence = None
            self._line.rolled_back()
            return False
        if self._divergence is None:
            log.warning("%s; the evolver is asked for other networks", error)
            self._divergence, self._diverged_at_seconds = error, time.monotonic()
            self._divergences_in_a_row += 1
        return True

    def parts(self) -> dict[str, Any]:
        return self._inner.parts() | {"evolving": self._line}

    def metrics(self) -> Mapping[str, float]:
        numbers = {f"evolver/{name}": value for name, value in self._line.numbers.items()}
        return {**self._inner.metrics(), "evolver/assigned": self._line.assigned, **numbers}

    def _wait(self, divergence: Diverged) -> None:
        """Waits without learning. Each divergence in a row doubles the pause before the evolver is told."""
        backoff = min(MAX_BACKOFF_SECONDS, 2.0 ** (self._divergences_in_a_row - 1) - 1)
        waited = time.monotonic() - self._diverged_at_seconds - backoff
        if waited > EVOLVER_TIMEOUT_SECONDS:
            raise divergence
        if waited >= 0:
            self._line.diverged(self._progress.steps)
        self._pause(PUMP_SECONDS)

    def _changed(self) -> None:
        """The agent has other networks: actors get them, and measurements of the former ones no longer count."""
        self._divergence = None
        log.info("applied change number %d of the evolver", self._line.assigned)
        self._fitness.forget()
        self._publish()

    # --- what the inner source does alone

    @property
    def replay_bytes(self) -> int:
        return self._inner.replay_bytes

    def done(self, max_step: int) -> bool:
        return self._inner.done(max_step)

    def resumed(self) -> str:
        return self._inner.resumed()

    def begin_episodes(self) -> None:
        self._inner.begin_episodes()

    def break_off(self) -> None:
        self._inner.break_off()
