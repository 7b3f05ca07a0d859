"""The actor's side of acting: the learner's newest weights, or its actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from sac.types import Choice
from sac.wire import shared_memory
from sac.wire.client import Client
from sac.wire.codec import Message
from sac.wire.shared_memory import Place

FETCH_SECONDS = 2.0  # seconds that an actor waits for weights before it goes on with those it has
ASK_AGAIN_SECONDS = 1.0  # seconds after which a request is repeated


class PolicyClient:
    """`version` of the weights that were fetched last, and `transitions` stored when they were published."""

    def __init__(self, client: Client, stop: Callable[[], bool] = lambda: False):
        self.client, self.version, self.transitions = client, 0, 0
        self._stop = stop
        self._id = 0
        self._far = 0  # the learner whose memory we do not reach, by its life
        self._life = 0  # whose version it is: another learner's count begins anew

    def fetch(self, patience: float = FETCH_SECONDS) -> dict[str, np.ndarray] | None:
        """Newer weights; None when there are none, or the learner is silent."""
        until = time.monotonic() + patience
        kinds = ("weights", "weights_near", "no_news")
        while (reply := self._ask(self._ask_for_weights, kinds, until)) is not None:
            arrays = self._arrays(reply)
            if arrays is not None or reply.kind == "no_news":
                self.version, self.transitions = reply["version"], reply["transitions"]
                self._life = self.client.server_incarnation
                return arrays
            self._far = self.client.server_incarnation  # what we were told of is another machine's, or gone: send them
        return None

    def choose(self, arrays: Mapping[str, np.ndarray]) -> Choice | None:
        """The learner's actions for these rows; None only when the run is over."""
        self._id += 1
        frames = self.client.codec.encode("act", {"id": self._id}, arrays)
        reply = self._ask(lambda: self.client.send(frames), ("chosen",), float("inf"), self._id)
        if reply is None:
            return None
        self.version, self.transitions = reply["version"], reply["transitions"]
        return Choice(**{name: reply.arrays[name] for name in Choice._fields})

    def report(self, episodes: list[tuple[float, int]]) -> None:
        """Returns and lengths of finished episodes; on a line that is down they are lost."""
        if episodes:
            returns, lengths = zip(*episodes)
            arrays = {"return": np.array(returns, np.float64), "length": np.array(lengths, np.int64)}
            self.client.send(self.client.codec.encode("episodes", None, arrays))

    def _ask_for_weights(self) -> bool:
        life = self.client.server_incarnation
        return self.client.say("weights?", have=self.version if life == self._life else 0, near=life != self._far)

    def _arrays(self, reply: Message) -> dict[str, np.ndarray] | None:
        """The weights that came, or that lie where the reply says; None when they do not."""
        if reply.kind == "weights_near":
            found = shared_memory.reach(Place.of(reply), self.client.codec.kinds["weights"], ())
            return found and found.slots[0]
        return reply.arrays if reply.kind == "weights" else None

    def _ask(self, send: Callable[[], bool], kinds: tuple[str, ...], until: float, number: int = -1) -> Message | None:
        """The reply of one of `kinds`; the question is repeated when it may have been lost."""
        asked, session = float("-inf"), -1
        self.client.pump()  # late answers to what was asked before
        while time.monotonic() < until and not self._stop() and not self.client.ended:
            if self.client.connected and (
                self.client.session != session or time.monotonic() - asked > ASK_AGAIN_SECONDS
            ):
                asked, session = time.monotonic(), self.client.session
                send()
            for message in self.client.pump(0.02):
                if message.kind in kinds and message.values.get("id", number) == number:
                    return message
        return None
