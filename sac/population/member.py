"""A learner that belongs to a population: it reports its evaluations to the evolver and takes networks from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from sac.evaluation.evaluator import Evaluator
from sac.nets import saving
from sac.population.client import EvolverClient
from sac.training.learner import Diverged
from sac.training.progress import Progress
from sac.training.source import TransitionSource
from sac.wire.codec import Columns

log = logging.getLogger(__name__)
EVOLVER_TIMEOUT_SECONDS = 60.0  # time in which the evolver must answer a learner that has diverged
MAX_BACKOFF_SECONDS = 60.0  # longest pause before a learner that diverges again and again reports it
PUMP_SECONDS = 0.05  # between two looks at the connections while a diverged learner waits


class EvolvedNetworks:
    """The networks of an agent that evolve; `make_agent(number)` makes the agent of a new beginning."""

    def __init__(self, agent: Any, make_agent: Callable[[int], Any]):
        self._agent, self._make_agent = agent, make_agent
        self._variables: dict[str, Any] = agent.evolving_variables()

    @property
    def schema(self) -> Columns:
        """Shape and dtype of each array, by name."""
        return {name: (tuple(v.shape), str(v.dtype)) for name, v in self._variables.items()}

    def networks(self) -> Mapping[str, np.ndarray]:
        """The present values, by name."""
        return saving.arrays(self._variables)

    def become(self, networks: Mapping[str, np.ndarray]) -> None:
        """Assigns these values. The optimizer keeps its momentum, as if the agent had always had them."""
        saving.assign(self._variables, networks)

    def begin_anew(self, number: int) -> None:
        """Gives the agent the state of a new one, which `make_agent(number)` makes."""
        self._agent.begin_anew(self._make_agent(number))


class Pumped(Protocol):
    """A connection whose messages must be handled."""

    def pump(self, timeout: float = 0.0) -> None: ...


class ActorsSource(TransitionSource, Protocol):
    """A source whose transitions come from actors, which act with the policy that it publishes."""

    @property
    def progress(self) -> Progress: ...
    @property
    def remote(self) -> Pumped: ...
    def begin(self) -> None: ...
    def publish(self) -> None: ...
    def finish(self) -> None: ...


class EvolvingSource:
    """An ActorsSource around another one: it also reports evaluations to the evolver and publishes its networks.

    After a divergence the learner waits for other networks. When the evolver does not answer in time, Diverged is
    raised again and the run loads its checkpoint, as a learner without a population does.
    """

    def __init__(self, inner: ActorsSource, line: EvolverClient, evaluator: Evaluator):
        self._inner, self._line, self._evaluator = inner, line, evaluator
        self._reported: tuple[int, float] | None = None  # the newest evaluation that was reported
        self._divergence: Diverged | None = None  # as long as no other networks have come
        self._diverged_at_seconds = 0.0
        self._divergences_in_a_row = 0  # without an evaluation between them
        line.on_change = self._changed

    def advance(self) -> bool:
        latest = self._evaluator.latest
        if latest is not None and latest != self._reported:
            self._reported = latest
            if self._divergence is None:
                self._divergences_in_a_row = 0
                self._line.evaluated(*latest)
        self._line.turn()
        if self._divergence is None:
            return self._inner.advance()
        self._wait(self._divergence)
        return False

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
        return {**self._inner.metrics(), "evolver/assigned": self._line.assigned}

    def finish(self) -> None:
        self._line.finish()
        self._inner.finish()

    def _wait(self, divergence: Diverged) -> None:
        """Waits without learning. Each divergence in a row doubles the pause before the evolver is told."""
        backoff = min(MAX_BACKOFF_SECONDS, 2.0 ** (self._divergences_in_a_row - 1) - 1)
        waited = time.monotonic() - self._diverged_at_seconds - backoff
        if waited > EVOLVER_TIMEOUT_SECONDS:
            raise divergence
        if waited >= 0:
            self._line.diverged(self._inner.progress.steps)
        self._inner.remote.pump(PUMP_SECONDS)

    def _changed(self) -> None:
        """The agent has other networks: actors get them, and evaluations of the former ones no longer count."""
        self._divergence = None
        log.info("applied change number %d of the evolver", self._line.assigned)
        self._evaluator.scores.returns.clear()
        self._inner.publish()

    # --- what the inner source does alone

    @property
    def replay_bytes(self) -> int:
        return self._inner.replay_bytes

    @property
    def progress(self) -> Progress:
        return self._inner.progress

    @property
    def remote(self) -> Pumped:
        return self._inner.remote

    def begin(self) -> None:
        self._inner.begin()

    def publish(self) -> None:
        self._inner.publish()

    def done(self, max_step: int) -> bool:
        return self._inner.done(max_step)

    def resumed(self) -> str:
        return self._inner.resumed()

    def begin_episodes(self) -> None:
        self._inner.begin_episodes()

    def break_off(self) -> None:
        self._inner.break_off()
