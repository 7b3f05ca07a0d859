"""The actor's connection to the learner: fetches its newest weights, or asks it for actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from sac.types import Choice
from sac.wire import shared_memory
from sac.wire.client import Client
from sac.wire.codec import Message
from sac.wire.shared_memory import Place

FETCH_SECONDS = 2.0  # an actor waits so long for weights, then goes on with those that it has
ASK_AGAIN_SECONDS = 1.0  # after which a request is repeated
PUMP_SECONDS = 0.02  # longest wait for messages at once


class PolicyClient:
    """Asks the learner for weights or for actions. `version` is that of the newest weights or actions received.

    `transitions` is the number of stored transitions when that version was published. Waiting ends when `stop()` is
    true.
    """

    def __init__(self, client: Client, stop: Callable[[], bool] = lambda: False):
        self.client, self.version, self.transitions = client, 0, 0
        self._stop = stop
        self._id = 0  # of the latest question for actions
        self._far = 0  # incarnation of a learner whose shared memory cannot be reached from here
        self._version_of = 0  # incarnation of the learner that counts `version`: another one counts from 1 again

    def fetch(self, seconds: float = FETCH_SECONDS) -> dict[str, np.ndarray] | None:
        """Newer weights by name; None when there are none, or the learner does not answer in time."""
        until = time.monotonic() + seconds
        kinds = ("weights", "weights_near", "no_news")
        while (reply := self._ask(self._ask_for_weights, kinds, until)) is not None:
            arrays = self._arrays(reply)
            if arrays is not None or reply.kind == "no_news":
                self.version, self.transitions = reply["version"], reply["transitions"]
                self._version_of = self.client.server_incarnation
                return arrays
            self._far = self.client.server_incarnation  # ask again for the weights themselves
        return None

    def choose(self, arrays: Mapping[str, np.ndarray]) -> Choice | None:
        """The learner's actions for these rows [r, ...]; None only when the run is over or `stop()` is true."""
        self._id += 1
        frames = self.client.codec.encode("act", {"id": self._id}, arrays)
        reply = self._ask(lambda: self.client.send(frames), ("chosen",), float("inf"), self._id)
        if reply is None:
            return None
        self.version, self.transitions = reply["version"], reply["transitions"]
        return Choice(**{name: reply.arrays[name] for name in Choice._fields})

    def report(self, episodes: list[tuple[float, int]]) -> None:
        """Sends return and length of finished episodes; they are lost when the connection is down."""
        if episodes:
            returns, lengths = zip(*episodes)
            arrays = {"return": np.array(returns, np.float64), "length": np.array(lengths, np.int64)}
            self.client.send(self.client.codec.encode("episodes", None, arrays))

    def _ask_for_weights(self) -> bool:
        learner = self.client.server_incarnation
        have = self.version if learner == self._version_of else 0
        return self.client.say("weights?", have=have, near=learner != self._far)

    def _arrays(self, reply: Message) -> dict[str, np.ndarray] | None:
        """The weights of a reply, or those in the shared memory that it names; None when there are none."""
        if reply.kind == "weights_near":
            found = shared_memory.reach(Place.of(reply), self.client.codec.kinds["weights"], ())
            return None if found is None else found.slots[0]
        return reply.arrays if reply.kind == "weights" else None

    def _ask(self, send: Callable[[], bool], kinds: tuple[str, ...], until: float, number: int = -1) -> Message | None:
        """The reply, of one of `kinds` and with the id `number`; None when none came until `until`.

        The question is repeated after ASK_AGAIN_SECONDS, and in each new session, since it may have been lost.
        """
        asked_at, session = float("-inf"), -1
        self.client.pump()  # drops late answers to earlier questions
        while time.monotonic() < until and not self._stop() and not self.client.ended:
            overdue = self.client.session != session or time.monotonic() - asked_at > ASK_AGAIN_SECONDS
            if self.client.connected and overdue:
                asked_at, session = time.monotonic(), self.client.session
                send()
            for message in self.client.pump(PUMP_SECONDS):
                if message.kind in kinds and message.values.get("id", number) == number:
                    return message
        return None
