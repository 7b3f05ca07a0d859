"""The actor's side of the memory: rows go out in chunks, and are kept until the replay has said that it has them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from sac.errors import UserError
from sac.types import Step, joined
from sac.wire.client import Client
from sac.wire.messages import NONE

MAX_CHUNK_ROWS = 256  # of a chunk at most
CHUNK_BYTES = 1 << 20  # ... and about so many
MAX_ROW_WAIT_SECONDS = 0.02  # seconds that a row may wait for others
NOTHING = {"id": NONE, "slot": NONE}  # is wanted by an actor
MAX_CHUNKS_UNDER_WAY = 64  # chunks that are sent and not acknowledged, at most, whatever the replay allows
RESEND_AFTER_SECONDS = 2.0  # seconds without an ack, on a line that is up, after which chunks are sent again


@dataclass
class Chunk:
    seq: int
    step: Step


class InsertClient:
    """`add` is what a local replay's is, except that it returns before the rows are stored.

    At most as many chunks are under way as the replay allows; while it allows none, `add` waits and `stop()` can end
    the waiting. After every new welcome what was not acknowledged is sent again, and the replay drops what it has
    already. `stored(step, first)`: its rows have the arrival numbers first, first + 1, ... (-1: nobody knows).
    """

    def __init__(self, client: Client, stop=lambda: False, stored=lambda step, first: None):
        self.client, self._stop, self.stored = client, stop, stored
        self.waited = 0.0  # seconds in which nothing was allowed
        self.transitions = 0  # handed in so far
        self._rows: list[Step] = []
        self._count = self._bytes = 0
        self._since = 0.0  # when the oldest of them came
        self._sent: deque[Chunk] = deque()
        self._acked, self._upto, self._next = 0, 0, 1  # newest chunk acknowledged and allowed, number of the next one
        self._session, self._heard = client.session, 0.0

    @property
    def pending(self) -> int:
        """Rows that the replay has not acknowledged."""
        return self._count + sum(len(chunk.step.stream) for chunk in self._sent)

    def add(self, step: Step) -> int:
        """Takes rows in and returns how many are transitions. Raises UserError when the replay refuses them."""
        k = len(step.stream)
        if k:
            if not self._rows:
                self._since = time.monotonic()
            self._rows.append(step)
            self._count += k
            self._bytes += sum(x.nbytes for x in step.obs.values())
        self.pump()
        if (
            self._count >= MAX_CHUNK_ROWS
            or self._bytes >= CHUNK_BYTES
            or time.monotonic() - self._since > MAX_ROW_WAIT_SECONDS
        ):
            self.flush()
        transitions = k - int(np.count_nonzero(step.last))
        self.transitions += transitions
        return transitions

    def flush(self) -> None:
        """Sends what has gathered, as soon as that is allowed."""
        if not self._count:
            return
        began = time.monotonic()
        while self._next > self._upto or not self.client.connected:
            if self._stop() or self.client.ended:
                return
            self.pump(0.05)
        self.waited += time.monotonic() - began
        chunk = Chunk(self._next, joined(self._rows))
        self._sent.append(chunk)
        self._rows, self._count, self._bytes = [], 0, 0
        self._next += 1
        self._send(chunk)
        if len(self._sent) == 1:
            self._heard = time.monotonic()

    def drain(self, seconds: float) -> bool:
        """Waits until everything is stored; False when that took too long."""
        until = time.monotonic() + seconds
        while self._count or self._sent:
            if time.monotonic() > until or self.client.ended:
                return False
            if self._count and self._next <= self._upto and self.client.connected:
                self.flush()
            self.pump(0.05)
        return True

    def send_td_errors(self, index: np.ndarray, td_error: np.ndarray) -> None:
        """|delta| [K, B] of stored rows `index` [K, B]; on a line that is down they are lost."""
        self.client.send(self.client.codec.encode("update", NOTHING, {"index": index, "td_error": td_error}))

    def pump(self, timeout: float = 0.0) -> None:
        """Hears the replay, and sends again what may have been lost."""
        for message in self.client.pump(timeout):
            if message.kind == "ack":
                self._acknowledged(**message.values)
            elif message.kind == "rejected":
                raise UserError(f"the replay refuses chunk {message['seq']}: {message.text}")
        now = time.monotonic()
        anew = self.client.connected and self.client.session != self._session
        if anew:
            self._session = self.client.session
        if anew or (self._sent and self.client.connected and now - self._heard > RESEND_AFTER_SECONDS):
            self._heard = now
            for chunk in self._sent:
                self._send(chunk)

    def _send(self, chunk: Chunk) -> None:
        told = {"seq": chunk.seq, "after": self._acked}  # as of now: the replay may have come back without any of it
        self.client.send(self.client.codec.encode("insert", told, chunk.step.columns()))

    def _acknowledged(self, seq: int, room: int, since: int, first: int) -> None:
        """A replay that holds none of our rows any more says 0: what it once had it will not get again."""
        self._heard = time.monotonic()
        self._acked = max(self._acked, seq)
        self._upto = self._acked + min(room, MAX_CHUNKS_UNDER_WAY)
        while self._sent and self._sent[0].seq <= seq:
            chunk = self._sent.popleft()
            if chunk.seq < since:
                self.stored(chunk.step, NONE)
            else:
                self.stored(chunk.step, first)
                first += len(chunk.step.stream)
