"""The learner: as long as there is credit, sample windows, update the agent, write priorities back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import count
from typing import Any, Protocol

import numpy as np

from sac.errors import UserError
from sac.replay.running_stats import RunningStats
from sac.timers import Clock
from sac.types import Batch

log = logging.getLogger(__name__)
MAX_FAILED_CALLS = 10  # calls in a row whose errors are not finite; the tenth raises Diverged


class WindowErrors(Protocol):
    """What an update says about its K batches of B windows."""

    @property
    def td_error(self) -> np.ndarray:
        """[K, B]"""

    @property
    def state(self) -> np.ndarray:
        """Recurrent states at the windows' first trained rows [K, B, S]."""


class Updatable(Protocol):
    """The agent as the learner sees it."""

    def update(self, batches: Batch) -> tuple[dict[str, Any], WindowErrors]: ...
    def normalise(self, stats: RunningStats) -> None: ...
    def pictures(self, batches: Batch) -> dict[str, np.ndarray]: ...


class WindowStore(Protocol):
    """A replay as the learner sees it."""

    def sample(self, batch_size: int, batches: int, /) -> Batch: ...
    def update(self, index: Any, td_error: np.ndarray, /) -> None: ...
    def refresh(self, index: Any, state: np.ndarray, /) -> None: ...
    def metrics(self) -> dict[str, float]: ...


class Credit(Protocol):
    """Says how many updates have been earned; the rate limiter is one, and so is a replay in another process."""

    updates: int
    updates_per_call: int

    @property
    def ratio(self) -> float: ...
    @property
    def target(self) -> float: ...
    def try_spend(self) -> bool: ...
    def state(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]: ...
    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None: ...


class Diverged(UserError):  # noqa: N818 - a state of the training
    """Weights or errors are no longer finite; `batches` are the windows of the update that showed it, if any."""

    batches: Batch | None = None


def diverged(updates: int, what: str) -> Diverged:
    """The error for `what` (names of metrics or weights) that is not finite after so many updates."""
    return Diverged(
        f"training has diverged: after {updates} updates {what} is not finite. Usual causes: sac.learning_rate too "
        "large, rewards of a huge scale, sac.gamma=1 in endless episodes. Nothing of this state was saved"
    )


class Learner:
    """Spends the limiter's credit on updates of the agent with windows from the replay.

    With `refresh_state` the recurrent states that an update computes replace the stored ones.
    """

    def __init__(
        self, agent: Updatable, replay: WindowStore, limiter: Credit, batch_size: int, clock: Clock, *,
        stats: RunningStats | None = None, refresh_state: bool = False,
    ):  # fmt: skip
        self.agent, self.replay, self.limiter = agent, replay, limiter
        self.batch_size, self.clock, self.refresh_state = batch_size, clock, refresh_state
        self.stats = stats or RunningStats()
        self.latest: dict[str, Any] = {}  # metrics of the newest call
        self._batches: Batch | None = None  # windows of the newest call
        self.skipped = 0  # calls whose errors were not finite, which changed nothing
        self._failed_calls = 0  # of these the newest in a row

    @property
    def updates(self) -> int:
        return self.limiter.updates

    def work(self, max_calls: int | None = None) -> None:
        """Updates as long as there is credit, with at most `max_calls` calls of the agent.

        A call samples its K batches at once, so priorities may be K - 1 updates old. A call with numbers that are not
        finite is not learnt from: its gradients count as zero. Raises Diverged after MAX_FAILED_CALLS such calls in a
        row.
        """
        self.agent.normalise(self.stats)
        for _ in count() if max_calls is None else range(max_calls):
            if not self.limiter.try_spend():
                break
            with self.clock("sample"):
                batches = self._batches = self.replay.sample(self.batch_size, self.limiter.updates_per_call)
            with self.clock("update"):
                self.latest, errors = self.agent.update(batches)
            if not (np.isfinite(errors.td_error).all() and np.isfinite(list(self.latest.values())).all()):
                self._skip(batches)
                continue
            self._failed_calls = 0
            with self.clock("sample"):
                if self.refresh_state:
                    self.replay.refresh(batches.index, errors.state)
                self.replay.update(batches.index, errors.td_error)  # last: a remote replay samples anew after it

    def _skip(self, batches: Batch) -> None:
        """Counts a call that has changed nothing. Raises Diverged when there were too many in a row."""
        self.skipped += 1
        self._failed_calls += 1
        if self._failed_calls < MAX_FAILED_CALLS:
            log.warning("update %d: the error is not finite, nothing was learnt from these windows", self.updates)
            return
        self._failed_calls = 0
        lost = [name for name, value in self.latest.items() if not np.isfinite(float(value))]
        error = diverged(self.updates, ", ".join(lost) or "the TD error")
        error.batches = batches
        raise error

    def pictures(self) -> dict[str, np.ndarray]:
        """Pictures of the newest windows, {name: picture [H, W, channels] uint8}."""
        return {} if self._batches is None else self.agent.pictures(self._batches)

    def metrics(self) -> dict[str, float]:
        """The newest losses and statistics."""
        values = {name: float(value) for name, value in self.latest.items()} | {"learner/skipped": self.skipped}
        ratios = {"updates_per_step": self.limiter.ratio, "updates_per_step_target": self.limiter.target}
        return values | self.replay.metrics() | {f"replay/{name}": value for name, value in ratios.items()}
