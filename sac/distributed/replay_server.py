"""The replay's side of the wire: chunks in, batches out as the limiter grants them, errors back."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Protocol

import numpy as np

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
ACTOR_WINDOW_CHUNKS = 8  # chunks of an actor that may be under way
MAX_WAITING_SAMPLES = 256  # batches that are asked for and not granted yet, at most; a learner asks for a few at once


class Stored(Protocol):
    """What this needs of a replay that survives."""

    ready: bool
    transitions: int

    def add_from(self, source: int, seq: int, step: Step) -> int | None: ...
    def acked(self, source: int) -> int: ...
    def close_source(self, source: int) -> int: ...
    def draw(self, batch_size: int, batches: int) -> tuple[np.ndarray, np.ndarray]: ...
    def windows(self, index: np.ndarray, weight: np.ndarray, out: Mapping | None = None) -> Batch: ...
    def update(self, index: np.ndarray, td_error: np.ndarray) -> None: ...
    def refresh(self, index: np.ndarray, state: np.ndarray) -> None: ...


class ReplayServer:
    """Answers what clients ask of the replay.

    After `max_step` transitions actors wait: what these have earned is still learnt from. With `max_lead` they wait too
    whenever updates are owed for more than so many transitions.
    """

    def __init__(
        self, server: Server, replay: Stored, limiter: RateLimiter, moments: RunningStats, batch_size: int, *,
        max_step: int = -1, max_lead: int | None = None,
    ):  # fmt: skip
        self.server, self.replay, self.limiter, self.moments = server, replay, limiter, moments
        self.batch_size, self.max_step, self.max_lead = batch_size, max_step, max_lead
        self.ended = False
        self.blocked: dict[bytes, Peer] = {}  # actors that wait
        self._asked: deque[tuple[Peer, Message]] = deque()  # samples that are not granted yet
        self._memory: dict[bytes, SharedArrays] = {}
        self._few = min(
            MAX_CHUNK_ROWS, MAX_SHARED_FRAME_BYTES // server.codec.kinds["insert"].bytes(1)
        )  # rows that are worth a copy
        self._answers = {
            "sample": self._sample, "update": self._update, "refresh": self._refresh, "memory": self._take_memory,
            "moments?": self._tell_moments, "end": self._end,
        }  # fmt: skip

    def turn(self, timeout: float) -> None:
        """Hears what is asked for at most `timeout` seconds, and answers."""
        self.answer(self.server.receive(timeout))

    def answer(self, requests: list[tuple[Peer, Message]]) -> None:
        """Does what was asked for, and what had to wait until now."""
        for peer, messages in _gathered(requests, self._few):
            answer = self._answers.get(messages[0].kind)
            if messages[0].kind == "insert":
                self._insert(peer, messages)
            elif answer is not None:
                answer(peer, messages[0])
        self._grant()
        if self.blocked and not self._ahead:
            waiting, self.blocked = self.blocked, {}
            for peer in waiting.values():
                self._acknowledge(peer, self.replay.acked(peer.incarnation))

    def arrived(self, peer: Peer) -> None:
        """A client is welcome (again): what it had asked for before it will ask for anew."""
        self._drop(peer)
        if peer.role == "actor":
            self._acknowledge(peer, self.replay.acked(peer.incarnation))

    def left(self, peer: Peer) -> None:
        self._drop(peer)
        if peer.role == "actor":
            closed = self.replay.close_source(peer.incarnation)
            log.info("%s has left; %d of its episodes were closed as truncations", peer.uid, closed)

    def catch_up(self) -> None:
        """Transitions that the limiter has not heard of (the process was killed before it could save) earn now."""
        self._earn(max(0, self.replay.transitions - self.limiter.steps))

    def metrics(self) -> dict[str, float]:
        """What others may know."""
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
        """Chunks that came together are stored together, and acknowledged by one message."""
        acked, fresh = self.replay.acked(peer.incarnation), []
        for i, chunk in enumerate(chunks):
            if fresh and chunk["after"] > acked:  # it knows of more than is here: not one behind the other
                self._insert(peer, chunks[:i])
                self._insert(peer, chunks[i:])
                return
            acked = max(acked, min(chunk["after"], chunk["seq"] - 1))
            if chunk["seq"] == acked + 1:  # else it is here, or one before it was lost with a line: they come again
                acked = chunk["seq"]
                fresh.append(chunk)
        first = NONE
        if fresh:
            step = joined([Step.of(chunk.arrays) for chunk in fresh])
            try:
                _check_finite(step)
                first = self.replay.add_from(peer.incarnation, acked, step)
            except ValueError as error:
                self._refuse(peer, chunks, error)
                return
            self.moments.add(step)
            self._earn(len(step.stream) - int(np.count_nonzero(step.last)))
        self._acknowledge(peer, acked, fresh[0]["seq"] if fresh else None, first)

    def _refuse(self, peer: Peer, chunks: list[Message], error: ValueError) -> None:
        """Of several chunks those before the one that is refused are stored."""
        if len(chunks) > 1:
            for chunk in chunks:
                self._insert(peer, [chunk])
            return
        seq = chunks[0]["seq"]
        self.server.complain(f"chunk {seq} of {peer.uid}: {error}")
        self.server.send(peer, self.server.codec.say("rejected", str(error), seq=seq))

    def _earn(self, transitions: int) -> None:
        if self.max_step > 0:  # what was under way when the last one came
            transitions = min(transitions, max(0, self.max_step - self.limiter.steps))
        if transitions:
            self.limiter.add_steps(transitions, self.replay.ready)

    @property
    def _ahead(self) -> bool:
        """Actors have collected all that was asked for, or more than updates can follow."""
        limiter = self.limiter
        if 0 < self.max_step <= self.replay.transitions:
            return True
        return self.max_lead is not None and limiter.credit > max(
            self.max_lead * limiter.target, limiter.updates_per_call
        )

    def _acknowledge(self, peer: Peer, seq: int, since: int | None = None, first: int = NONE) -> None:
        """After the rows are stored: what is acknowledged survives a kill.

        The chunks from `since` on, which is none as long as it is not given, lie from the arrival number `first` on.
        """
        ahead = self._ahead
        if ahead:
            self.blocked[peer.identity] = peer
        told = {"seq": seq, "since": seq + 1 if since is None else since, "first": first}
        self.server.say(peer, "ack", room=0 if ahead else ACTOR_WINDOW_CHUNKS, **told)

    def _sample(self, peer: Peer, message: Message) -> None:
        if peer.role != "learner":
            return
        if len(self._asked) < MAX_WAITING_SAMPLES:
            self._asked.append((peer, message))
        else:
            self.server.complain(f"{peer.uid} asks for more than {MAX_WAITING_SAMPLES} batches at once")

    def _grant(self) -> None:
        """Batches, as long as there is credit for them; all that are granted now are drawn at once."""
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
        lead = (self.limiter.updates_per_call, self.batch_size)
        found = shared_memory.reach(Place.of(message), self.server.codec.kinds["batch"], lead)
        if found is not None:
            self._memory[peer.identity] = found
        self.server.say(peer, "memory_seen", seen=found is not None)

    def _tell_moments(self, peer: Peer, message: Message) -> None:
        arrays, told = self.moments.state()
        self.server.send(peer, self.server.codec.encode("moments", {"count": told["count"]}, arrays))

    def _end(self, peer: Peer, message: Message) -> None:
        self.ended = self.ended or peer.role == "learner"

    def _drop(self, peer: Peer) -> None:
        self._asked = deque(asked for asked in self._asked if asked[0].identity != peer.identity)
        self._memory.pop(peer.identity, None)
        self.blocked.pop(peer.identity, None)


def _gathered(requests: list[tuple[Peer, Message]], rows: int) -> list[tuple[Peer, list[Message]]]:
    """Requests one by one, but neighbouring chunks of an actor together, up to so many rows.

    To store a few rows costs more than what is in them; many would only be copied once more.
    """
    gathered: list[tuple[Peer, list[Message]]] = []
    room = -1
    for peer, message in requests:
        joins = message.kind == "insert" and message["r"] > 0
        needed = message["r"] if joins else room + 1
        if needed <= room and peer is gathered[-1][0]:
            gathered[-1][1].append(message)
            room -= needed
        else:
            gathered.append((peer, [message]))
            room = rows - needed if joins else -1
    return gathered


def _check_finite(step: Step) -> None:
    """Raises ValueError for numbers that would poison what is learnt."""
    for name, x in step.columns().items():
        if x.size and x.dtype.kind == "f" and not np.logical_and.reduce(np.isfinite(x), axis=None):
            raise ValueError(f"{name} is not finite")
