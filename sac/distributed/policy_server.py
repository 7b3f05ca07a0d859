"""The learner's side of acting: its newest weights for who wants them, actions for who does not act by itself."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property

import numpy as np

from sac.types import Choice
from sac.wire import shared_memory
from sac.wire.codec import Codec, Message
from sac.wire.peer import Peer
from sac.wire.server import Server

log = logging.getLogger(__name__)
MAX_WAITING_EPISODES = 1 << 16  # that wait for the learner at most: while so many do, what actors report is lost


class Published:
    """A version of the weights; made ready for each way of sending at most once, when the first one asks."""

    def __init__(self, version: int, transitions: int, weights: Mapping[str, np.ndarray], codec: Codec):
        self.told = {"version": version, "transitions": transitions}
        self._weights, self._codec = weights, codec

    @cached_property
    def frames(self) -> list:
        return self._codec.encode("weights", self.told, self._weights)

    @cached_property
    def near(self) -> list | None:
        """Frames that say where on this machine they are; None where memory cannot be shared."""
        made = shared_memory.make(self._codec.kinds["weights"], (), 1)
        if made is None:
            return None
        self._memory, place = made  # there as long as this version is
        for name, array in self._memory.slots[0].items():
            np.copyto(array, self._weights[name])
        return self._codec.encode("weights_near", self.told | asdict(place))


class PolicyServer:
    """Serves from a thread of its own, whatever the learner is doing meanwhile.

    `publish` hands over a new version; `act(arrays)` chooses for the rows of all requests that wait at one moment.
    `episodes` fills with (return, length) of what the actors have finished.
    """

    def __init__(self, server: Server, act: Callable[[Mapping[str, np.ndarray]], Choice]):
        self.server, self.version = server, 0
        self.episodes: queue.SimpleQueue[tuple[float, int]] = queue.SimpleQueue()
        self.failure: BaseException | None = None  # what ended the thread before its time
        self._act = act
        self._published: tuple[Published, ...] = ()  # the newest, and the one that somebody may be about to read
        self._over, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="policy service", daemon=True)

    def publish(self, weights: Mapping[str, np.ndarray], transitions: int) -> None:
        """From now on these are what is served."""
        new = Published(self.version + 1, transitions, weights, self.server.codec)
        self._published, self.version = (new, *self._published[:1]), self.version + 1

    def begin(self) -> None:
        self._thread.start()

    def actors(self) -> list[Peer]:
        """Those that are there."""
        return [peer for peer in list(self.server.peers.values()) if peer.role == "actor"]

    def metrics(self) -> dict[str, float]:
        """What the actors say of themselves: sums of rates, and how many versions behind they act."""
        told = [peer.counters for peer in self.actors()]
        lags = [self.version - c["version"] for c in told if c.get("version")]
        waits = [c["waiting"] for c in told if "waiting" in c]
        return {
            "actors/present": len(told),
            "actors/steps_per_second": sum(c.get("steps_per_second", 0.0) for c in told),
            "actors/policy_lag": float(np.mean(lags)) if lags else 0.0,
            "actors/waiting": float(np.mean(waits)) if waits else 0.0,
            "learner/version": self.version,
            "learner/bad_messages": self.server.bad,
        }

    def end(self) -> None:
        """Tells everybody that the run is over, then stops."""
        self._ending.set()
        self.close()

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self.server.close()

    def _serve(self) -> None:
        try:
            while not self._over.is_set():
                self._answer(self.server.receive(0.05))
            if self._ending.is_set():
                self.server.end()
        except BaseException as error:
            self.failure = error

    def _answer(self, requests: list[tuple[Peer, Message]]) -> None:
        asked = []
        for peer, message in requests:
            if message.kind == "weights?":
                self._send_weights(peer, **message.values)
            elif message.kind == "act":
                asked.append((peer, message))
            elif message.kind == "episodes":
                self._take_episodes(message.arrays["return"], message.arrays["length"])
        if asked:
            self._choose(asked)

    def _take_episodes(self, returns: np.ndarray, lengths: np.ndarray) -> None:
        room = max(0, MAX_WAITING_EPISODES - self.episodes.qsize())
        for pair in zip(returns[:room].tolist(), lengths[:room].tolist()):
            self.episodes.put(pair)

    def _send_weights(self, peer: Peer, have: int, near: bool) -> None:
        if not self._published:
            return  # nothing yet: it asks again
        newest = self._published[0]
        if have == newest.told["version"]:
            self.server.say(peer, "no_news", **newest.told)
        else:
            self.server.send(peer, (near and newest.near) or newest.frames)

    def _choose(self, asked: list[tuple[Peer, Message]]) -> None:
        """One call of the policy for all who wait."""
        if not self._published:
            return
        names = asked[0][1].arrays
        choice = self._act({name: np.concatenate([m.arrays[name] for _, m in asked]) for name in names})
        start = 0
        for peer, message in asked:
            rows = slice(start, start + message["r"])
            start = rows.stop
            values = {"id": message["id"], **self._published[0].told}
            arrays = {name: getattr(choice, name)[rows] for name in Choice._fields}
            self.server.send(peer, self.server.codec.encode("chosen", values, arrays))
