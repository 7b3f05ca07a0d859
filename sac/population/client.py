"""A learner's connection to the evolver: it reports evaluations and receives networks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from sac.population.numbers import as_arrays
from sac.wire.client import Client
from sac.wire.codec import Message

FAREWELL_SECONDS = 2.0  # time for the evolver to hear that the learner has ended
MAX_UNCONFIRMED = 100  # reports that are kept while the evolver is away; it uses the newest
POLL_INTERVAL_SECONDS = 1.0  # between two questions, and until an unconfirmed report is sent again


class Evolvable(Protocol):
    """A learner's networks as the client sees them."""

    @property
    def numbers(self) -> Mapping[str, float]:
        """Its hyperparameters that may change, by key."""

    def networks(self) -> Mapping[str, np.ndarray]:
        """The present values, by name."""

    def become(self, networks: Mapping[str, np.ndarray]) -> None:
        """Assigns these values."""

    def begin_anew(self, number: int) -> None:
        """Makes the learner's networks and optimizers new; their seed depends on the number."""

    def change(self, numbers: Mapping[str, float]) -> None:
        """Sets its hyperparameters by key."""


class EvolverClient:
    """Reports until the evolver confirms, and applies each change of the evolver once.

    The evolver numbers its changes of a learner; `assigned` is the number of the last applied change and is saved
    with the learner. The learner trains on whether or not the evolver is there.
    """

    def __init__(self, client: Client, learner: Evolvable):
        self.client, self._learner = client, learner
        self.assigned = 0
        self.on_change: Callable[[], None] = lambda: None  # called after each applied change
        self.on_rows: Callable[[Message], None] = lambda message: None  # is given the rows of other learners
        self._unconfirmed: dict[int, float] = {}  # step -> mean return, of the present networks
        self._diverged_at_step: int | None = None  # of the present networks
        self._asked_at_seconds = float("-inf")

    @property
    def numbers(self) -> Mapping[str, float]:
        """The learner's hyperparameters that may change, by key."""
        return self._learner.numbers

    def evaluated(self, step: int, value: float) -> None:
        """Reports the mean return of the present networks."""
        self._unconfirmed[step] = value
        while len(self._unconfirmed) > MAX_UNCONFIRMED:
            del self._unconfirmed[next(iter(self._unconfirmed))]
        self._say(step, value)

    def diverged(self, step: int) -> None:
        """Reports that the present networks are not finite. Nothing else is reported until other networks come."""
        if self._diverged_at_step is None:
            self._diverged_at_step = step
            self._report()

    def rolled_back(self) -> None:
        """The learner has loaded a checkpoint with older networks: the evolver sends its latest change again."""
        self.assigned = 0
        self._forget_reports()

    def turn(self) -> None:
        """Handles messages, and asks and reports when it is time. Raises UserError when the evolver refuses it."""
        for message in self.client.pump():
            self._handle(message)
        if self.client.connected and time.monotonic() - self._asked_at_seconds > POLL_INTERVAL_SECONDS:
            self._asked_at_seconds = time.monotonic()
            question = self.client.codec.encode(
                "what_am_i?", {"assigned": self.assigned}, as_arrays(self._learner.numbers)
            )
            self.client.send(question)
            self._report()

    def finish(self) -> None:
        """Reports that the run is over; gives up when the evolver cannot be reached for FAREWELL_SECONDS."""
        until = time.monotonic() + FAREWELL_SECONDS
        while not self.client.say("over") and time.monotonic() < until:
            self.client.pump(0.05)

    def state(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]]:
        return {}, {"assigned": self.assigned, "numbers": dict(self._learner.numbers)}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        self.assigned = scalars["assigned"]
        numbers = scalars.get("numbers", {})  # older ones may hold what varies no more
        self._learner.change({name: numbers[name] for name in self.numbers if name in numbers})
        self._forget_reports()

    def _report(self) -> None:
        if self._diverged_at_step is not None:
            self._say(self._diverged_at_step, math.nan)
            return
        for step, value in self._unconfirmed.items():
            self._say(step, value)

    def _say(self, step: int, value: float) -> None:
        if self.client.connected:
            self.client.say("evaluated", assigned=self.assigned, step=step, value=float(value))

    def _handle(self, message: Message) -> None:
        if message.kind == "noted":
            self._unconfirmed.pop(message["step"], None)
        elif message.kind == "networks?":
            values = {"generation": message["generation"], "assigned": self.assigned}
            self.client.send(self.client.codec.encode("networks", values, self._learner.networks()))
        elif message.kind == "rows_of":
            self.on_rows(message)
        elif message.kind in ("become", "begin_anew") and message["assigned"] > self.assigned:
            if message.kind == "become":
                self._learner.become(message.arrays)
            else:
                self._learner.begin_anew(message["assigned"])
            self.assigned = message["assigned"]
            self._forget_reports()
            self.on_change()

    def _forget_reports(self) -> None:
        """Drops unconfirmed reports, which were about networks that the learner no longer has."""
        self._unconfirmed.clear()
        self._diverged_at_step = None
