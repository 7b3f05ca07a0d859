"""The actor's connection to the replay: sends rows in chunks, and keeps each until the replay has stored it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sac.errors import UserError
from sac.types import Step, joined
from sac.wire.client import Client
from sac.wire.messages import NONE

MAX_CHUNK_ROWS = 256
CHUNK_BYTES = 1 << 20  # a chunk is sent once its observations have so many bytes
MAX_ROW_WAIT_SECONDS = 0.02  # a row waits at most so long for other rows of its chunk
MAX_CHUNKS_UNDER_WAY = 64  # at most so many chunks are sent and not acknowledged
RESEND_AFTER_SECONDS = 2.0  # without an acknowledgement on a working connection
PUMP_SECONDS = 0.05  # longest wait for messages at once
NO_BATCH = {"id": NONE, "slot": NONE}  # an actor asks for no batch


@dataclass
class Chunk:
    """Rows that are sent together; `seq` = 1, 2, ... counts the chunks of one actor."""

    seq: int
    step: Step


class InsertClient:
    """`add` takes rows as a local replay's does, but returns before they are stored.

    The replay bounds the number of chunks under way. While it allows none, `add` waits, until `stop()` is true. After
    each new welcome the chunks that were not acknowledged are sent again; the replay drops those that it has already.
    `stored(step, first)` is called for acknowledged rows: their arrival numbers are first, first + 1, ... (NONE: they
    are unknown).
    """

    def __init__(
        self, client: Client, stop: Callable[[], bool] = lambda: False,
        stored: Callable[[Step, int], object] = lambda step, first: None,
    ):  # fmt: skip
        self.client, self._stop, self.stored = client, stop, stored
        self.waited = 0.0  # seconds in which the replay allowed no chunk
        self.transitions = 0  # given to `add` so far
        self._rows: list[Step] = []  # of the next chunk
        self._count = self._bytes = 0  # rows of the next chunk, bytes of their observations
        self._oldest_at = 0.0  # when the first of them came
        self._sent: deque[Chunk] = deque()  # not acknowledged yet
        self._acked, self._allowed, self._next = 0, 0, 1  # chunk numbers: newest acknowledged, newest allowed, next
        self._session = client.session
        self._heard_at = 0.0  # when a chunk was last acknowledged or sent again

    @property
    def pending(self) -> int:
        """Rows that the replay has not acknowledged."""
        return self._count + sum(len(chunk.step.stream) for chunk in self._sent)

    def add(self, step: Step) -> int:
        """Takes rows in and returns how many are transitions. Raises UserError when the replay refuses a chunk."""
        k = len(step.stream)
        if k:
            if not self._rows:
                self._oldest_at = time.monotonic()
            self._rows.append(step)
            self._count += k
            self._bytes += sum(x.nbytes for x in step.obs.values())
        self.pump()
        if self._chunk_is_due:
            self.flush()
        transitions = k - int(np.count_nonzero(step.last))
        self.transitions += transitions
        return transitions

    def flush(self) -> None:
        """Sends the rows that were gathered, as soon as the replay allows it."""
        if not self._count:
            return
        began = time.monotonic()
        while self._next > self._allowed or not self.client.connected:
            if self._stop() or self.client.ended:
                return
            self.pump(PUMP_SECONDS)
        self.waited += time.monotonic() - began
        chunk = Chunk(self._next, joined(self._rows))
        self._sent.append(chunk)
        self._rows, self._count, self._bytes = [], 0, 0
        self._next += 1
        self._send(chunk)
        if len(self._sent) == 1:
            self._heard_at = time.monotonic()

    def drain(self, seconds: float) -> bool:
        """Waits until everything is stored; False when that took longer, or the run is over."""
        until = time.monotonic() + seconds
        while self._count or self._sent:
            if time.monotonic() > until or self.client.ended:
                return False
            if self._count and self._next <= self._allowed and self.client.connected:
                self.flush()
            self.pump(PUMP_SECONDS)
        return True

    def send_td_errors(self, index: np.ndarray, td_error: np.ndarray) -> None:
        """Sends |delta| [K, B] of the stored rows `index` [K, B]; they are lost when the connection is down."""
        self.client.send(self.client.codec.encode("update", NO_BATCH, {"index": index, "td_error": td_error}))

    def pump(self, timeout: float = 0.0) -> None:
        """Reads acknowledgements, and sends chunks again that may be lost. Raises UserError for a refused chunk."""
        for message in self.client.pump(timeout):
            if message.kind == "ack":
                self._acknowledged(**message.values)
            elif message.kind == "rejected":
                raise UserError(f"the replay refuses chunk {message['seq']}: {message.text}")
        if not self.client.connected:
            return
        now, new_session = time.monotonic(), self.client.session != self._session
        self._session = self.client.session
        if new_session or (self._sent and now - self._heard_at > RESEND_AFTER_SECONDS):
            self._heard_at = now
            for chunk in self._sent:
                self._send(chunk)

    @property
    def _chunk_is_due(self) -> bool:
        if self._count >= MAX_CHUNK_ROWS or self._bytes >= CHUNK_BYTES:
            return True
        return time.monotonic() - self._oldest_at > MAX_ROW_WAIT_SECONDS

    def _send(self, chunk: Chunk) -> None:
        """`after` is the newest acknowledged chunk. A replay whose files are gone goes on from that number."""
        told = {"seq": chunk.seq, "after": self._acked}
        self.client.send(self.client.codec.encode("insert", told, chunk.step.columns()))

    def _acknowledged(self, seq: int, room: int, since: int, first: int) -> None:
        """The chunks up to `seq` are stored; `seq` = 0 comes from a replay that has lost our rows or never had any.

        Acknowledged rows are never sent again, even if the files of the replay are gone. The rows of chunks from
        `since` on have the arrival numbers first, first + 1, ...
        """
        self._heard_at = time.monotonic()
        self._acked = max(self._acked, seq)
        self._allowed = self._acked + min(room, MAX_CHUNKS_UNDER_WAY)
        while self._sent and self._sent[0].seq <= seq:
            chunk = self._sent.popleft()
            if chunk.seq < since:
                self.stored(chunk.step, NONE)
            else:
                self.stored(chunk.step, first)
                first += len(chunk.step.stream)
