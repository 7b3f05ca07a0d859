"""The replay's service: stores the actors' chunks, and sends batches to the learner as the rate limiter allows."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from sac.distributed.chunks import check_finite, gathered
from sac.distributed.insert_client import MAX_CHUNK_ROWS
from sac.replay import RateLimiter
from sac.replay.running_stats import RunningStats
from sac.types import Batch, Step, joined
from sac.wire import shared_memory
from sac.wire.codec import MAX_SHARED_FRAME_BYTES, Message
from sac.wire.messages import NONE
from sac.wire.peer import Peer
from sac.wire.server import Server
from sac.wire.shared_memory import Place, SharedArrays

log = logging.getLogger(__name__)
ACTOR_WINDOW_CHUNKS = 8  # of one actor that may be under way
MAX_WAITING_SAMPLES = 256  # questions for a batch that wait for credit; a learner asks for a few at once


class StoredReplay(Protocol):
    """What the service needs of a DurableReplay."""

    @property
    def ready(self) -> bool: ...
    @property
    def transitions(self) -> int: ...
    def metrics(self) -> dict[str, float]: ...
    def add_from(self, source: int, seq: int, step: Step) -> int | None: ...
    def acked(self, source: int) -> int: ...
    def close_source(self, source: int) -> int: ...
    def draw(self, batch_size: int, batches: int) -> tuple[np.ndarray, np.ndarray]: ...
    def windows(self, index: np.ndarray, weight: np.ndarray, out: Mapping[str, np.ndarray] | None = None) -> Batch: ...
    def update(self, index: np.ndarray, td_error: np.ndarray) -> None: ...
    def refresh(self, index: np.ndarray, state: np.ndarray) -> None: ...


class ReplayServer:
    """Answers the messages of actors and of the learner; `_answers` names the method for each.

    After `max_step` transitions actors have to wait, while the learner spends the remaining credit. With `max_lead`
    they also wait while the learner is more than so many transitions behind.
    """

    def __init__(
        self, server: Server, replay: StoredReplay, limiter: RateLimiter, stats: RunningStats, batch_size: int, *,
        max_step: int = -1, max_lead: int | None = None,
    ):  # fmt: skip
        self.server, self.replay, self.limiter, self.stats = server, replay, limiter, stats
        self.batch_size, self.max_step, self.max_lead = batch_size, max_step, max_lead
        self.ended = False  # whether the learner has said that the run is over
        self.blocked: dict[bytes, Peer] = {}  # actors that have to wait
        self._asked: deque[tuple[Peer, Message]] = deque()  # questions for a batch that wait for credit
        self._memory: dict[bytes, SharedArrays] = {}  # of learners, into which batches are written
        # Chunks up to so many rows are joined: larger ones cost more to copy than to store one by one.
        self._max_joined_rows = min(MAX_CHUNK_ROWS, MAX_SHARED_FRAME_BYTES // server.codec.kinds["insert"].bytes(1))
        self._answers: dict[str, Callable[[Peer, Message], None]] = {
            "sample": self._sample, "update": self._update, "refresh": self._refresh, "memory": self._take_memory,
            "moments?": self._tell_stats, "end": self._end,
        }  # fmt: skip

    def turn(self, timeout: float) -> None:
        """Waits for messages for at most `timeout` seconds, and answers them."""
        self.answer(self.server.receive(timeout))

    def answer(self, requests: list[tuple[Peer, Message]]) -> None:
        """Handles requests; then grants batches, and lets actors go on, where that has become possible."""
        for peer, messages in gathered(requests, self._max_joined_rows):
            first = messages[0]
            if first.kind == "insert":
                self._insert(peer, messages)
            elif first.kind in self._answers:
                self._answers[first.kind](peer, first)
        self._grant()
        if self.blocked and not self._actors_must_wait:
            waiting, self.blocked = self.blocked, {}
            for peer in waiting.values():
                self._acknowledge(peer, self.replay.acked(peer.incarnation))
        if self.ended:
            self.server.end()  # at each call: clients that come back hear of it too

    def arrived(self, peer: Peer) -> None:
        """A client was welcomed (again). Its earlier questions are dropped, since it asks anew."""
        self._drop(peer)
        if peer.role == "actor":
            self._acknowledge(peer, self.replay.acked(peer.incarnation))

    def left(self, peer: Peer) -> None:
        """A client has gone; open episodes of an actor are closed as truncations."""
        self._drop(peer)
        if peer.role == "actor":
            closed = self.replay.close_source(peer.incarnation)
            log.info("%s has left; %d of its episodes were closed as truncations", peer.uid, closed)

    def catch_up(self) -> None:
        """Gives credit for transitions that the saved limiter did not count, since its process was killed."""
        self._earn(max(0, self.replay.transitions - self.limiter.steps))

    def metrics(self) -> dict[str, float]:
        """Counters of replay and limiter. Clients get them with each answer to a ping."""
        limiter, replay = self.limiter, self.replay
        return replay.metrics() | {
            "transitions": replay.transitions,
            "updates": limiter.updates,
            "credit": limiter.credit,
            "updates_per_step": limiter.ratio,
            "updates_per_step_target": limiter.target,
            "blocked_actors": len(self.blocked),
            "waiting_samples": len(self._asked),
            "bad_messages": self.server.bad,
        }

    # --- answers

    def _insert(self, peer: Peer, chunks: list[Message]) -> None:
        """Stores an actor's chunks that came one behind the other, and acknowledges them with one message.

        Chunks are stored in order. One that leaves a gap, or that is stored already, is ignored; the actor sends again
        what is missing.
        """
        acked = self.replay.acked(peer.incarnation)
        fresh: list[Message] = []
        for i, chunk in enumerate(chunks):
            if fresh and chunk["after"] > acked:  # the earlier chunks of this actor are gone here: begin a new group
                self._insert(peer, chunks[:i])
                self._insert(peer, chunks[i:])
                return
            acked = max(acked, min(chunk["after"], chunk["seq"] - 1))
            if chunk["seq"] == acked + 1:
                acked = chunk["seq"]
                fresh.append(chunk)
        first: int | None = NONE
        if fresh:
            step = joined([Step.of(chunk.arrays) for chunk in fresh])
            try:
                check_finite(step)
                first = self.replay.add_from(peer.incarnation, acked, step)
            except ValueError as error:
                self._refuse(peer, chunks, error)
                return
            self.stats.add(step)
            self._earn(len(step.stream) - int(np.count_nonzero(step.last)))
        self._acknowledge(peer, acked, fresh[0]["seq"] if fresh else None, NONE if first is None else first)

    def _refuse(self, peer: Peer, chunks: list[Message], error: ValueError) -> None:
        """Refuses a chunk; of several that were joined each is tried alone, to find the one that is at fault."""
        if len(chunks) > 1:
            for chunk in chunks:
                self._insert(peer, [chunk])
            return
        seq = chunks[0]["seq"]
        self.server.complain(f"chunk {seq} of {peer.uid}: {error}")
        self.server.send(peer, self.server.codec.say("rejected", str(error), seq=seq))

    def _earn(self, transitions: int) -> None:
        """Gives credit for new transitions, except for those beyond `max_step`."""
        if self.max_step > 0:
            transitions = min(transitions, max(0, self.max_step - self.limiter.steps))
        if transitions:
            self.limiter.add_steps(transitions, self.replay.ready)

    @property
    def _actors_must_wait(self) -> bool:
        """Whether `max_step` is reached, or the learner is more than `max_lead` transitions behind."""
        limiter = self.limiter
        if 0 < self.max_step <= self.replay.transitions:
            return True
        return self.max_lead is not None and limiter.credit > max(
            self.max_lead * limiter.target, limiter.updates_per_call
        )

    def _acknowledge(self, peer: Peer, seq: int, since: int | None = None, first: int = NONE) -> None:
        """Tells an actor which chunks are safe on disk (those up to `seq`) and how many more it may send.

        The rows of chunks from `since` on have the arrival numbers first, first + 1, ... (None: no such chunks).
        """
        wait = self._actors_must_wait
        if wait:
            self.blocked[peer.identity] = peer
        told = {"seq": seq, "since": seq + 1 if since is None else since, "first": first}
        self.server.say(peer, "ack", room=0 if wait else ACTOR_WINDOW_CHUNKS, **told)

    def _sample(self, peer: Peer, message: Message) -> None:
        """Notes a learner's question for a batch."""
        if peer.role != "learner":
            return
        if len(self._asked) < MAX_WAITING_SAMPLES:
            self._asked.append((peer, message))
        else:
            self.server.complain(f"{peer.uid} asks for more than {MAX_WAITING_SAMPLES} batches at once")

    def _grant(self) -> None:
        """Sends batches as long as there is credit. All batches that are granted in one call are drawn together."""
        over = self.limiter.unlimited and 0 < self.max_step <= self.replay.transitions
        granted = []
        while self._asked and not over and self.replay.ready and self.limiter.try_spend():
            granted.append(self._asked.popleft())
        if not granted:
            return
        k = self.limiter.updates_per_call
        index, weight = self.replay.draw(self.batch_size, k * len(granted))
        for i, (peer, message) in enumerate(granted):
            drawn = index[i * k : (i + 1) * k], weight[i * k : (i + 1) * k]
            told = {"id": message["id"], "transitions": int(self.replay.transitions)}
            memory = self._memory.get(peer.identity)
            if memory is not None and 0 <= message["slot"] < len(memory.slots):
                self.replay.windows(*drawn, memory.slots[message["slot"]])
                self.server.say(peer, "batch_written", slot=message["slot"], **told)
            else:
                self.server.send(peer, self.server.codec.encode("batch", told, self.replay.windows(*drawn).columns()))

    def _update(self, peer: Peer, message: Message) -> None:
        """Takes TD errors in, and the question for the next batch that came with them."""
        error = message.arrays["td_error"]
        if np.isfinite(error).all():
            self.replay.update(message.arrays["index"], error)
        if message["id"] != NONE:
            self._sample(peer, message)

    def _refresh(self, peer: Peer, message: Message) -> None:
        state = message.arrays["state"]
        if np.isfinite(state).all():
            self.replay.refresh(message.arrays["index"], state)

    def _take_memory(self, peer: Peer, message: Message) -> None:
        """Opens a learner's shared memory, and tells whether that was possible."""
        lead = (self.limiter.updates_per_call, self.batch_size)
        found = shared_memory.reach(Place.of(message), self.server.codec.kinds["batch"], lead)
        if found is not None:
            self._memory[peer.identity] = found
        self.server.say(peer, "memory_seen", seen=found is not None)

    def _tell_stats(self, peer: Peer, message: Message) -> None:
        arrays, told = self.stats.state()
        self.server.send(peer, self.server.codec.encode("moments", {"count": told["count"]}, arrays))

    def _end(self, peer: Peer, message: Message) -> None:
        self.ended = self.ended or peer.role == "learner"

    def _drop(self, peer: Peer) -> None:
        """Forgets what a client has asked for."""
        self._asked = deque(asked for asked in self._asked if asked[0].identity != peer.identity)
        self._memory.pop(peer.identity, None)
        self.blocked.pop(peer.identity, None)
