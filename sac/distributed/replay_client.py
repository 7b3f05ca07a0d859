"""The learner's connection to the replay: has the interface of a local replay and of its rate limiter."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from sac.errors import UserError
from sac.replay.running_stats import RunningStats
from sac.types import Batch
from sac.wire import shared_memory
from sac.wire.client import Client
from sac.wire.codec import Message, MessageKind
from sac.wire.messages import NONE
from sac.wire.shared_memory import Place, SharedArrays

BATCH_WAIT_SECONDS = 0.2  # that one call of `try_spend` waits for a batch
PUMP_SECONDS = 0.02  # longest wait for messages at once
STATS_SECONDS = 1.0  # between two questions for the statistics of observations


def check_batch(batch: MessageKind, updates_per_call: int, batch_size: int) -> None:
    """Raises UserError for batches that are too large to be sent: the learner would wait for one forever."""
    try:
        batch.check_size(updates_per_call, batch_size)
    except UserError as error:
        raise UserError(
            f"{error}; lower replay.batch_size={batch_size}, sac.updates_per_call={updates_per_call}, or the length of "
            "windows (sac.n_step, sac.sequence_length, sac.burn_in_step)"
        ) from None


class ReplayClient:
    """A replay and its rate limiter in one: the replay sends a batch when there is credit for its updates.

    Up to `outstanding` batches are asked for or wait here; the next one is asked for when one is taken. With 1 the
    learner gets the same batches as from a local replay; with n, the priorities may be up to n - 1 calls older. A
    checkpoint holds only the numbers of updates and of transitions.
    """

    def __init__(
        self, client: Client, batch_size: int, updates_per_call: int, stats: RunningStats, outstanding: int = 4, *,
        prioritized: bool = True,
    ):  # fmt: skip
        check_batch(client.codec.kinds["batch"], updates_per_call, batch_size)
        self.client, self.batch_size, self.updates_per_call = client, batch_size, updates_per_call
        self.stats = stats  # statistics of the observations, as the replay last sent them
        self.updates = 0
        self.transitions = 0  # stored in the replay, as it last told
        self.waited = 0.0  # seconds in which there was no batch
        self._outstanding, self._prioritized = outstanding, prioritized
        self._ids: dict[int, int] = {}  # batches that are asked for: their slots by their ids
        self._next = 0  # id of the next batch to ask for
        self._here: deque[tuple[Batch, int]] = deque()  # batches that came, oldest first, with their slots
        self._in_use = NONE  # slot of the batch that `sample` returned last
        self._session = 0  # in which batches were asked for
        made = shared_memory.make(client.codec.kinds["batch"], (updates_per_call, batch_size), outstanding + 1)
        self._memory: SharedArrays | None = made[0] if made else None
        self._place: Place | None = made[1] if made else None
        self._free: list[int] = []  # slots of the shared memory that no batch uses, once the replay has opened it
        self._asked_stats_at = 0.0

    @property
    def ratio(self) -> float:
        """Realised updates per transition that has earned credit, as the replay last told."""
        return self.client.theirs.get("updates_per_step", 0.0)

    @property
    def target(self) -> float:
        """Updates that a transition earns, as the replay last told."""
        return self.client.theirs.get("updates_per_step_target", 0.0)

    def spent(self, transitions: int) -> bool:
        """Whether so many transitions are stored and all credit that they earned is spent, as the replay last told."""
        told = self.client.theirs
        enough = told.get("transitions", 0) >= transitions and told.get("credit", 0) < self.updates_per_call
        return enough and not self._here

    def try_spend(self) -> bool:
        """Whether there is a batch for `sample`; waits for one for BATCH_WAIT_SECONDS at most."""
        began = time.monotonic()
        self.pump(0.0)
        while not self._here and time.monotonic() - began < BATCH_WAIT_SECONDS and not self.client.ended:
            self.pump(PUMP_SECONDS)
        self.waited += time.monotonic() - began
        if not self._here:
            return False
        self.updates += self.updates_per_call
        return True

    def sample(self, batch_size: int, batches: int) -> Batch:
        """The oldest batch [K, B, ...] that came; only after `try_spend`. Its arrays are valid until the next call."""
        if self._in_use >= 0:
            self._free.append(self._in_use)
        batch, self._in_use = self._here.popleft()
        return batch

    def update(self, index: np.ndarray, td_error: np.ndarray) -> None:
        """Sends |delta| [K, B] for new priorities, together with the question for the next batch.

        They are lost when the connection is down; the rows keep their priorities then.
        """
        if not self._prioritized:
            self._ask()
            return
        wanted = self._wanted()
        if self.client.send(self.client.codec.encode("update", wanted, {"index": index, "td_error": td_error})):
            self._asked_for(wanted)

    def refresh(self, index: np.ndarray, state: np.ndarray) -> None:
        """Sends new recurrent states [K, B, S] of the rows `index` [K, B]."""
        self.client.send(self.client.codec.encode("refresh", None, {"index": index, "state": state}))

    def metrics(self) -> dict[str, float]:
        """The replay's counters, and the seconds without a batch."""
        numbers = {k: v for k, v in self.client.theirs.items() if isinstance(v, int | float)}
        named = {name if name.startswith("replay/") else f"replay/{name}": value for name, value in numbers.items()}
        return named | {"learner/waited": self.waited}

    def pump(self, timeout: float = 0.0) -> None:
        """Reads what has come, and asks for batches and statistics."""
        for message in self.client.pump(timeout):
            self._hear(message)
        told = self.client.theirs  # newer than the last batch where the replay grants no more
        self.transitions = max(self.transitions, int(told.get("transitions", 0)))
        if self.client.connected and self.client.session != self._session:
            self._begin_session()
        if self.client.connected and self.stats.mean and time.monotonic() - self._asked_stats_at > STATS_SECONDS:
            self._asked_stats_at = time.monotonic()
            self.client.say("moments?")
        self._ask()

    def finish(self) -> None:
        """Tells the replay that the run is over; it tells the actors."""
        self.client.say("end")

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        return {}, {"updates": self.updates, "steps": self.transitions}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, int]) -> None:
        self.updates, self.transitions = scalars["updates"], scalars["steps"]

    def _begin_session(self) -> None:
        """After a new welcome: all earlier questions are forgotten at both ends."""
        self._session = self.client.session
        self._ids.clear()
        self._free = []
        if self._place is not None:
            self.client.say("memory", **asdict(self._place))

    def _ask(self) -> None:
        while (wanted := self._wanted())["id"] != NONE and self.client.say("sample", **wanted):
            self._asked_for(wanted)

    def _wanted(self) -> dict[str, int]:
        """The fields of the question for the next batch; its id is NONE while there is no room for one."""
        greeted = self.client.connected and self._session == self.client.session
        room = greeted and len(self._ids) + len(self._here) < self._outstanding
        return {"id": self._next if room else NONE, "slot": self._free[-1] if room and self._free else NONE}

    def _asked_for(self, wanted: dict[str, int]) -> None:
        if wanted["id"] != NONE:
            self._ids[wanted["id"]] = wanted["slot"]
            self._next += 1
        if wanted["slot"] != NONE:
            self._free.pop()

    def _hear(self, message: Message) -> None:
        if message.kind == "moments":
            self.stats.restore(message.arrays, {"count": message["count"]})
        elif message.kind == "memory_seen":
            self._use_memory(message["seen"])
        elif message.kind in ("batch", "batch_written") and message["id"] in self._ids:
            self._take_in(message)

    def _use_memory(self, seen: bool) -> None:
        """All slots that no batch uses are free, if the replay was able to open the shared memory."""
        assert self._memory is not None
        taken = {self._in_use, *self._ids.values()} | {slot for _, slot in self._here}
        self._free = [slot for slot in range(len(self._memory.slots)) if slot not in taken] if seen else []

    def _take_in(self, message: Message) -> None:
        """A batch has come, as frames or in the slot of the shared memory that the message names."""
        wanted_slot, slot = self._ids.pop(message["id"]), message.values.get("slot", NONE)
        self.transitions = message["transitions"]
        if slot == NONE != wanted_slot:  # it came as frames, so that the slot is free again
            self._free.append(wanted_slot)
        arrays = message.arrays
        if slot >= 0:
            assert self._memory is not None
            arrays = self._memory.slots[slot]
        self._here.append((Batch.of(arrays), slot))
