"""The learner's service for actors: its newest weights, or actions that it chooses for them."""

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
from sac.wire.frames import Frames
from sac.wire.peer import Peer
from sac.wire.server import Server

log = logging.getLogger(__name__)
MAX_WAITING_EPISODES = 1 << 16  # that wait for the learner; what actors report beyond that is lost
RECEIVE_SECONDS = 0.05  # longest wait for messages at once
JOIN_SECONDS = 5.0  # that the thread has to end


class Published:
    """One version of the weights; frames and shared memory are made when an actor first asks, and then kept."""

    def __init__(self, version: int, transitions: int, weights: Mapping[str, np.ndarray], codec: Codec):
        self.told = {"version": version, "transitions": transitions}
        self._weights, self._codec = weights, codec

    @cached_property
    def frames(self) -> Frames:
        """The message that holds the weights."""
        return self._codec.encode("weights", self.told, self._weights)

    @cached_property
    def near(self) -> Frames | None:
        """The message that names the shared memory with the weights; None where memory cannot be shared."""
        made = shared_memory.make(self._codec.kinds["weights"], (), 1)
        if made is None:
            return None
        self._memory, place = made  # kept as long as this version
        for name, array in self._memory.slots[0].items():
            np.copyto(array, self._weights[name])
        return self._codec.encode("weights_near", self.told | asdict(place))


class PolicyServer:
    """Serves from a thread of its own, while the learner trains.

    `publish` hands over a new version of the weights. `act(arrays)` chooses actions for the rows of all requests that
    wait at one moment. `episodes` fills with (return, length) of the actors' finished episodes.
    """

    def __init__(self, server: Server, act: Callable[[Mapping[str, np.ndarray]], Choice]):
        self.server, self.version = server, 0
        self.episodes: queue.SimpleQueue[tuple[float, int]] = queue.SimpleQueue()
        self.failure: BaseException | None = None  # the exception that ended the thread
        self._act = act
        self._published: tuple[Published, ...] = ()  # newest first; an actor may still read the other
        self._closing, self._run_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="policy service", daemon=True)

    def publish(self, weights: Mapping[str, np.ndarray], transitions: int) -> None:
        """Serves these weights from now on; `transitions` are stored in the replay at present."""
        new = Published(self.version + 1, transitions, weights, self.server.codec)
        self._published, self.version = (new, *self._published[:1]), self.version + 1

    def begin(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def actors(self) -> list[Peer]:
        """The actors that are connected."""
        return [peer for peer in list(self.server.peers.values()) if peer.role == "actor"]

    def metrics(self) -> dict[str, float]:
        """Total rate of the actors, their mean share of waiting, and the mean age of their policies in versions."""
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
        """Tells all actors that the run is over, then stops."""
        self._run_over.set()
        self.close()

    def close(self) -> None:
        """Stops the thread and closes the server."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)
        self.server.close()

    def _serve(self) -> None:
        try:
            while not self._closing.is_set():
                self._answer(self.server.receive(RECEIVE_SECONDS))
            if self._run_over.is_set():
                self.server.end()
        except BaseException as error:  # the learner's thread raises it
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
            return  # nothing is published yet: the actor asks again
        newest = self._published[0]
        if have == newest.told["version"]:
            self.server.say(peer, "no_news", **newest.told)
        else:
            self.server.send(peer, (near and newest.near) or newest.frames)

    def _choose(self, asked: list[tuple[Peer, Message]]) -> None:
        """Chooses the actions of all requests with one call of the policy, and answers each."""
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
