"""The rows that the learners of a population share: each sends its own to the evolver, which passes them on."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from sac.replay.layout import columns
from sac.replay.replay import Replay
from sac.types import Spec, Step, joined
from sac.wire.client import Client
from sac.wire.codec import Columns, Message

CHUNK_ROWS = 64  # a chunk is sent when so many rows have come ...
CHUNK_SECONDS = 1.0  # ... or when its first row has waited so long
STREAMS_PER_LEARNER = 1 << 32  # learners number their streams alike: another one's get numbers of their own


def row_columns(spec: Spec, state_size: int) -> Columns:
    """Shape and dtype of what is sent of a row."""
    return {"stream": ((), "int64"), **columns(spec, state_size)}


class SharedRows:
    """Sends this learner's rows, and puts those of the others into the replay `others`.

    A chunk that is lost breaks the episodes that it belongs to: what came before ends as a truncation.
    """

    def __init__(self, client: Client, others: Replay):
        self._client, self._others = client, others
        self._rows: list[Step] = []
        self._count, self._since = 0, 0.0
        self._seq = 0  # of the newest chunk that was sent
        self._seen: dict[int, int] = {}  # learner -> seq of its newest chunk
        self._open: dict[int, set[int]] = {}  # learner -> its streams in `others` whose episodes go on

    def offer(self, step: Step) -> None:
        """Takes in rows that this learner has collected; they are sent in chunks."""
        if not len(step.stream):
            return
        if not self._rows:
            self._since = time.monotonic()
        self._rows.append(step)
        self._count += len(step.stream)
        if self._count >= CHUNK_ROWS or time.monotonic() - self._since > CHUNK_SECONDS:
            self._send()

    def take(self, message: Message) -> None:
        """Stores the rows of another learner.

        Their recurrent states become zeros, as at the beginning of an episode: those of other networks mean nothing to
        this learner's.
        """
        learner, seq = message["learner"], message["seq"]
        if self._seen.get(learner) != seq - 1:
            self._others.close_open_streams(self._open.pop(learner, ()))
        self._seen[learner] = seq
        rows = Step.of({name: np.array(x) for name, x in message.arrays.items()})
        stream = rows.stream + learner * STREAMS_PER_LEARNER
        self._others.add(rows._replace(stream=stream, state=np.zeros_like(rows.state)))
        going_on = dict(zip(stream.tolist(), (~rows.last).tolist()))  # of a stream's rows the newest counts
        known = self._open.get(learner, set()) - going_on.keys()
        self._open[learner] = known | {name for name, goes_on in going_on.items() if goes_on}

    def resumed(self) -> None:
        """Ends the episodes of a restored replay, whose next rows this process did not get."""
        self._others.close_open_streams()

    def _send(self) -> None:
        step, self._rows, self._count = joined(self._rows), [], 0
        self._seq += 1  # also of a chunk that cannot be sent: the others notice the gap
        arrays: Mapping[str, np.ndarray] = step.columns()
        self._client.send(self._client.codec.encode("rows", {"seq": self._seq}, arrays))
