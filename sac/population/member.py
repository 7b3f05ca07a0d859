"""A learner that is one of a population: its experience, with an ear for the evolver."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from sac.config.distributions import keyed
from sac.config.schema import Config
from sac.evaluation.evaluator import Evaluator
from sac.nets import saving
from sac.population.client import EvolverClient
from sac.roles.cell_config import describe, evolver_directory, make_keys
from sac.runs.folder import RunFolder
from sac.training.learner import Diverged
from sac.types import Spec
from sac.wire.client import Client
from sac.wire.handshake import Description
from sac.wire.messages import evolver_codec
from sac.wire.peer import ClientId

if TYPE_CHECKING:
    from sac.distributed.remote_source import RemoteSource

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds until an evolver must have answered a learner that has diverged
LONGEST = 60.0  # seconds that such a learner waits at most before it says so once more
PAUSE = 0.05  # seconds between two looks then


class Evolved:
    """What an evolver reads and changes of an agent."""

    def __init__(self, agent, make_agent: Callable[[int], object]):
        self._agent, self._make_agent = agent, make_agent
        self._variables = agent.evolving_variables()

    @property
    def schema(self) -> dict:
        return {name: (tuple(v.shape), str(v.dtype)) for name, v in self._variables.items()}

    def networks(self) -> Mapping[str, np.ndarray]:
        return saving.arrays(self._variables)

    def become(self, networks: Mapping[str, np.ndarray]) -> None:
        """The optimizer keeps its momentum, as if these had always been its networks."""
        saving.assign(self._variables, networks)

    def begin_anew(self, number: int) -> None:
        self._agent.begin_anew(self._make_agent(number))


class Evolving:
    """An Experience of actors whose learner is evaluated for an evolver, and becomes what that one says."""

    def __init__(self, inner: RemoteSource, line: EvolverClient, evaluator: Callable[[], Evaluator]):
        self._inner, self._line, self._evaluator = inner, line, evaluator
        self._told: tuple[int, float] | None = None
        self._lost: Diverged | None = None  # what nobody has made anything of yet
        self._since, self._in_a_row = 0.0, 0  # when that was; how often, without an evaluation between
        line.changed = self._changed

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def advance(self) -> bool:
        latest = self._evaluator().latest
        if latest is not None and latest != self._told:
            self._told = latest
            if self._lost is None:
                self._in_a_row = 0
                self._line.evaluated(*latest)
        self._line.turn()
        if self._lost is None:
            return self._inner.advance()
        self._wait()
        return False

    def on_divergence(self, error: Diverged) -> bool:
        """The evolver makes something else of it; what a learner has to do for itself, it does where nobody answers."""
        if error is self._lost:  # raised again, as nobody did
            self._lost = None
            self._line.taken_back()
            return False
        if self._lost is None:
            log.warning("%s; the evolver is asked for other networks", error)
            self._lost, self._since = error, time.monotonic()
            self._in_a_row += 1
        return True

    def parts(self) -> dict:
        return self._inner.parts() | {"evolving": self._line}

    def metrics(self) -> Mapping[str, float]:
        return {**self._inner.metrics(), "evolver/assigned": self._line.assigned}

    def finish(self) -> None:
        self._line.finish()
        self._inner.finish()

    def _wait(self) -> None:
        """Learns nothing, for it would be passed over; the more often that has happened the longer, as it may again."""
        waited = time.monotonic() - self._since - min(LONGEST, 2.0 ** (self._in_a_row - 1) - 1)
        if waited > PATIENCE:
            raise self._lost
        if waited >= 0:
            self._line.lost(self._inner.progress.steps)
        self._inner.remote.pump(PAUSE)

    def _changed(self) -> None:
        """Whatever its evaluations said is over; actors shall act as it is now."""
        self._lost = None
        log.info("became number %d of what the evolver made of it", self._line.assigned)
        self._evaluator().scores.returns.clear()
        self._inner.publish()


def line_to_evolver(config: Config, folder: RunFolder, spec: Spec, learner: Evolved, stack: ExitStack) -> EvolverClient:
    """It is closed with the stack."""
    columns, drawn = learner.schema, keyed(config.random_params)  # learners may differ in what is drawn for them
    shared = {name: value for name, value in describe(config, spec).shared.items() if name not in drawn}
    shared |= {"networks": {name: [list(shape), dtype] for name, (shape, dtype) in columns.items()}}
    client = Client(
        "evolver", evolver_codec(columns), Description(shared, {}), ClientId("learner", config.net.number),
        evolver_directory(config, folder), make_keys(config),
    )  # fmt: skip
    stack.callback(client.close)
    return EvolverClient(client, learner)
