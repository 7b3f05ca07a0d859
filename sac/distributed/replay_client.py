"""The learner's side of the memory: what a local replay and limiter are to it, over the wire."""

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

BATCH_WAIT_SECONDS = 0.2  # that one call waits for a batch


def check_batch(batch: MessageKind, updates_per_call: int, batch_size: int) -> None:
    """Raises UserError for batches that are too large to be sent: the learner would wait for them for ever."""
    try:
        batch.check_size(updates_per_call, batch_size)
    except UserError as error:
        raise UserError(
            f"{error}; lower replay.batch_size={batch_size}, sac.updates_per_call={updates_per_call}, or the length of "
            "windows (sac.n_step, sac.sequence_length, sac.burn_in_step)"
        ) from None


class ReplayClient:
    """A replay and its limiter in one: the replay grants a batch when there is credit for its updates.

    Up to `outstanding` batches are under way or here; they are asked for when one is taken, so with 1 everything is
    as it is locally, and else priorities are so many calls older. Of an earlier start nothing is kept but the number
    of updates.
    """

    def __init__(
        self, client: Client, batch_size: int, updates_per_call: int, moments: RunningStats, outstanding: int = 4, *,
        prioritized: bool = True,
    ):  # fmt: skip
        check_batch(client.codec.kinds["batch"], updates_per_call, batch_size)
        self.client, self.batch_size, self.updates_per_call = client, batch_size, updates_per_call
        self.moments = moments  # kept up to date
        self.updates = 0
        self.transitions = 0  # stored in the replay, as it last said
        self.waited = 0.0  # seconds without a batch
        self._outstanding, self._prioritized = outstanding, prioritized
        self._ids: dict[int, int] = {}  # batches that were asked for, with the slots for them
        self._next = 0
        self._here: deque[tuple[Batch, int]] = deque()  # batches that came, with their slots
        self._in_use = NONE  # slot of the batch that is being learnt from
        self._session = 0
        made = shared_memory.make(client.codec.kinds["batch"], (updates_per_call, batch_size), outstanding + 1)
        self._memory, self._place = made or (None, None)
        self._free: list[int] = []
        self._asked_moments = 0.0

    @property
    def ratio(self) -> float:
        """Realised updates per earning transition, as the replay says."""
        return self.client.theirs.get("updates_per_step", 0.0)

    @property
    def target(self) -> float:
        return self.client.theirs.get("updates_per_step_target", 0.0)

    def spent(self, transitions: int) -> bool:
        """Whether so many transitions have come and all that they earned was learnt from, as the replay last said."""
        told = self.client.theirs
        enough = told.get("transitions", 0) >= transitions and told.get("credit", 0) < self.updates_per_call
        return enough and not self._here

    def try_spend(self) -> bool:
        """Whether there is a batch for `sample`; waits at most BATCH_WAIT_SECONDS for one."""
        began = time.monotonic()
        self.pump(0.0)
        while not self._here and time.monotonic() - began < BATCH_WAIT_SECONDS and not self.client.ended:
            self.pump(0.02)
        self.waited += time.monotonic() - began
        if not self._here:
            return False
        self.updates += self.updates_per_call
        return True

    def sample(self, batch_size: int, batches: int) -> Batch:
        """The oldest batch that came [K, B, ...]; only after `try_spend`. Its arrays live until the next call."""
        if self._in_use >= 0:
            self._free.append(self._in_use)
        batch, self._in_use = self._here.popleft()
        return batch

    def update(self, index: np.ndarray, td_error: np.ndarray) -> None:
        """|delta| [K, B] back, where priorities are made of them, and the question for the next batch with them.

        On a line that is down they are lost, and the rows keep their priorities.
        """
        if not self._prioritized:
            self._ask()
            return
        wanted = self._wanted()
        if self.client.send(self.client.codec.encode("update", wanted, {"index": index, "td_error": td_error})):
            self._asked_for(wanted)

    def refresh(self, index: np.ndarray, state: np.ndarray) -> None:
        self.client.send(self.client.codec.encode("refresh", None, {"index": index, "state": state}))

    def metrics(self) -> dict[str, float]:
        """What the replay says of itself."""
        numbers = {k: v for k, v in self.client.theirs.items() if isinstance(v, int | float)}
        named = {name if name.startswith("replay/") else f"replay/{name}": value for name, value in numbers.items()}
        return named | {"learner/waited": self.waited}

    def pump(self, timeout: float = 0.0) -> None:
        for message in self.client.pump(timeout):
            self._hear(message)
        told = self.client.theirs  # says more where no batch comes any more
        self.transitions = max(self.transitions, int(told.get("transitions", 0)))
        if self.client.connected and self.client.session != self._session:
            self._begin()
        if self.client.connected and self.moments.mean and time.monotonic() - self._asked_moments > 1.0:
            self._asked_moments = time.monotonic()
            self.client.say("moments?")
        self._ask()

    def finish(self) -> None:
        """The run is over: the replay tells everybody."""
        self.client.say("end")

    def state(self):
        return {}, {"updates": self.updates, "steps": self.transitions}

    def restore(self, arrays: Mapping, scalars: Mapping) -> None:
        self.updates, self.transitions = scalars["updates"], scalars["steps"]

    def _begin(self) -> None:
        """A new welcome: what was asked for before is forgotten."""
        self._session = self.client.session
        self._ids.clear()
        self._free = []
        if self._place is not None:
            self.client.say("memory", **asdict(self._place))

    def _ask(self) -> None:
        while (wanted := self._wanted())["id"] != NONE and self.client.say("sample", **wanted):
            self._asked_for(wanted)

    def _wanted(self) -> dict[str, int]:
        """The next batch to ask for, as long as there is room for one."""
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
            self.moments.restore(message.arrays, {"count": message["count"]})
        elif message.kind == "memory_seen":
            taken = {self._in_use, *self._ids.values()} | {slot for _, slot in self._here}
            self._free = [s for s in range(self._place.slots) if s not in taken] if message["seen"] else []
        elif message.kind in ("batch", "batch_written") and message["id"] in self._ids:
            asked_for = self._ids.pop(message["id"])
            self.transitions = message["transitions"]
            slot = message.values.get("slot", NONE)
            if slot == NONE != asked_for:  # it came as frames
                self._free.append(asked_for)
            arrays = message.arrays if slot < 0 else self._memory.slots[slot]
            self._here.append((Batch.of(arrays), slot))
