"""A learner's line to its evolver: evaluations there, networks back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from sac.wire.client import Client
from sac.wire.codec import Message

FAREWELL = 2.0  # seconds in which it can hear that the learner has ended
AGAIN = 1.0  # seconds between two questions, and until what was not noted is told again


class Evolvable(Protocol):
    """Who is evolved."""

    def networks(self) -> Mapping[str, np.ndarray]:
        """What it is now."""

    def become(self, networks: Mapping[str, np.ndarray]) -> None: ...
    def begin_anew(self, number: int) -> None: ...


class EvolverClient:
    """`assigned` counts what the learner was told to be, and is saved with it: nothing is taken in twice.

    The learner trains on whether or not the evolver is there; what it could not tell yet it tells later.
    """

    def __init__(self, client: Client, learner: Evolvable):
        self.client, self._learner = client, learner
        self.assigned = 0
        self.changed: Callable[[], None] = lambda: None  # called when the learner has become something else
        self._untold: dict[int, float] = {}  # step -> mean return, of what the learner is now
        self._lost: int | None = None  # the step at which its numbers were not finite any more, as what it is now
        self._asked = float("-inf")

    def evaluated(self, step: int, value: float) -> None:
        """The learner, as it is now, has this mean return."""
        self._untold[step] = value
        self._tell()

    def lost(self, step: int) -> None:
        """The learner's numbers are not finite: that is told, and nothing else, until it has become something else."""
        if self._lost is None:
            self._lost = step
            self._tell()

    def taken_back(self) -> None:
        """Nobody made anything of what was lost, and the learner is what it was at a time of which it does not know."""
        self.assigned = 0
        self._become_other()

    def turn(self) -> None:
        """Hears the evolver. Raises UserError when it refuses this learner."""
        for message in self.client.pump():
            self._hear(message)
        if self.client.connected and time.monotonic() - self._asked > AGAIN:
            self._asked = time.monotonic()
            self.client.say("what_am_i?", assigned=self.assigned)
            self._tell()

    def finish(self) -> None:
        """The learner's run is over; an evolver that is away is not waited for long."""
        until = time.monotonic() + FAREWELL
        while not self.client.say("over") and time.monotonic() < until:
            self.client.pump(0.05)

    def state(self):
        return {}, {"assigned": self.assigned}

    def restore(self, arrays: Mapping, scalars: Mapping) -> None:
        self.assigned = scalars["assigned"]
        self._become_other()

    def _tell(self) -> None:
        if self._lost is not None:
            self.client.say("evaluated", assigned=self.assigned, step=self._lost, value=math.nan)
            return
        for step, value in self._untold.items():
            self.client.say("evaluated", assigned=self.assigned, step=step, value=float(value))

    def _hear(self, message: Message) -> None:
        if message.kind == "noted":
            self._untold.pop(message["step"], None)
        elif message.kind == "networks?":
            told = {"generation": message["generation"], "assigned": self.assigned}
            self.client.send(self.client.codec.encode("networks", told, self._learner.networks()))
        elif message.kind in ("become", "begin_anew") and message["assigned"] > self.assigned:
            if message.kind == "become":
                self._learner.become(message.arrays)
            else:
                self._learner.begin_anew(message["assigned"])
            self.assigned = message["assigned"]
            self._become_other()
            self.changed()

    def _become_other(self) -> None:
        """What was to be told was of what it is no more."""
        self._untold.clear()
        self._lost = None
