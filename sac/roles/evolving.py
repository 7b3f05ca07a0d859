"""A learner that is one of a population: its experience, with an ear for the evolver."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import numpy as np

from sac.config import Config
from sac.evaluator import Evaluator
from sac.experience import Experience
from sac.learner import Diverged
from sac.nets import saving
from sac.random_params import keyed
from sac.roles.wiring import describe, evolver_directory, make_keys
from sac.run_folder import RunFolder
from sac.types import Spec
from sac.wire.client import Client
from sac.wire.description import Description
from sac.wire.evolver_client import EvolverClient
from sac.wire.kinds import evolver_codec
from sac.wire.peer import Me

log = logging.getLogger(__name__)


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
    """An Experience whose learner is evaluated for an evolver, and becomes what that one says.

    `changed()` is called when it has.
    """

    def __init__(self, inner: Experience, line: EvolverClient, evaluator: Callable[[], Evaluator]):
        self._inner, self._line, self._evaluator = inner, line, evaluator
        self._told: tuple[int, float] | None = None
        self._diverged = False  # as what it is now
        line.changed = self._changed

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def advance(self) -> bool:
        latest = self._evaluator().latest
        if latest is not None and latest != self._told:
            self._told = latest
            self._line.evaluated(*latest)
        self._line.turn()
        try:
            return self._inner.advance()
        except Diverged as error:
            self._told_to_have_diverged(error)
            return False

    def parts(self) -> dict:
        return self._inner.parts() | {"evolving": self._line}

    def metrics(self) -> Mapping[str, float]:
        return {**self._inner.metrics(), "evolver/assigned": self._line.assigned}

    def finish(self) -> None:
        self._line.finish()
        self._inner.finish()

    def _told_to_have_diverged(self, error: Diverged) -> None:
        """It has learnt nothing from what was not finite, and goes on until the evolver makes something else of it."""
        if not self._diverged:
            self._diverged = True
            log.warning("%s; the evolver is asked for other networks", error)
            self._line.evaluated(self._inner.progress.steps, math.nan)

    def _changed(self) -> None:
        """Whatever its evaluations said is over; actors shall act as it is now."""
        self._diverged = False
        log.info("became number %d of what the evolver made of it", self._line.assigned)
        self._evaluator().scores.returns.clear()
        self._inner.publish()


def line_to_evolver(config: Config, folder: RunFolder, spec: Spec, learner: Evolved, stack: ExitStack) -> EvolverClient:
    """It is closed with the stack."""
    columns, drawn = learner.schema, keyed(config.random_params)  # learners may differ in what is drawn for them
    shared = {name: value for name, value in describe(config, spec).shared.items() if name not in drawn}
    shared |= {"networks": {name: [list(shape), dtype] for name, (shape, dtype) in columns.items()}}
    client = Client(
        "evolver", evolver_codec(columns), Description(shared, {}), Me("learner", config.net.number),
        evolver_directory(config, folder), make_keys(config),
    )  # fmt: skip
    stack.callback(client.close)
    return EvolverClient(client, learner)
