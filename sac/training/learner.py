"""The learner: credit -> sample -> update -> write back."""

from __future__ import annotations

import logging
from itertools import count
from typing import Protocol

import numpy as np

from sac.errors import UserError
from sac.replay import RateLimiter
from sac.replay.running_stats import RunningStats
from sac.timers import Clock
from sac.types import Batch

log = logging.getLogger(__name__)
IN_A_ROW = 10  # updates without a finite error that are not by chance


class Learnt(Protocol):
    td_error: np.ndarray  # [K, B]
    state: np.ndarray  # [K, B, S]


class Updatable(Protocol):
    def update(self, batches: Batch) -> tuple[dict, Learnt]: ...
    def normalise(self, moments: RunningStats) -> None: ...
    def pictures(self, batches: Batch) -> dict[str, np.ndarray]: ...


class Diverged(UserError):  # noqa: N818 - what happened to training
    """Training has come to numbers that are not finite; `batches` are the windows with which it did, if any."""

    batches: Batch | None = None


def diverged(updates: int, what: str) -> Diverged:
    return Diverged(
        f"training has diverged: after {updates} updates {what} is not finite. Usual causes: sac.learning_rate too "
        "large, rewards of a huge scale, sac.gamma=1 in endless episodes. Nothing of this state was saved"
    )


class Learner:
    """Spends the limiter's credit on updates of the agent with windows from the replay.

    With `refresh_state` the recurrent states that an update worked out replace the stored ones.
    """

    def __init__(
        self, agent: Updatable, replay, limiter: RateLimiter, batch_size: int, clock: Clock, *,
        moments: RunningStats | None = None, refresh_state: bool = False,
    ):  # fmt: skip
        self.agent, self.replay, self.limiter = agent, replay, limiter
        self.batch_size, self.clock, self.refresh_state = batch_size, clock, refresh_state
        self.moments = moments or RunningStats()
        self.latest: dict = {}  # metrics of the newest call
        self._batches: Batch | None = None  # and its windows
        self.skipped = 0  # calls whose errors were not finite: they changed nothing
        self._lost_in_a_row = 0

    @property
    def updates(self) -> int:
        return self.limiter.updates

    def work(self, max_calls: int | None = None) -> None:
        """Updates as long as credit lasts, with at most `max_calls` calls of the agent (None: no limit).

        Priorities of K fused batches are up to K - 1 updates old when drawn. An update with a number that is not finite
        has changed no weights and is passed over. Raises Diverged after ten of them in a row.
        """
        self.agent.normalise(self.moments)
        for _ in count() if max_calls is None else range(max_calls):
            if not self.limiter.try_spend():
                break
            with self.clock("sample"):
                batches = self._batches = self.replay.sample(self.batch_size, self.limiter.updates_per_call)
            with self.clock("update"):
                self.latest, learnt = self.agent.update(batches)
            if not (np.isfinite(learnt.td_error).all() and np.isfinite(list(self.latest.values())).all()):
                self._pass_over(batches)
                continue
            self._lost_in_a_row = 0
            with self.clock("sample"):
                if self.refresh_state:
                    self.replay.refresh(batches.index, learnt.state)
                self.replay.update(batches.index, learnt.td_error)  # at last: a replay far away then draws anew

    def _pass_over(self, batches: Batch) -> None:
        """Counts a call that has learnt nothing."""
        self.skipped += 1
        self._lost_in_a_row += 1
        if self._lost_in_a_row < IN_A_ROW:
            log.warning("update %d: the error is not finite, nothing was learnt from these windows", self.updates)
            return
        self._lost_in_a_row = 0
        lost = [name for name, value in self.latest.items() if not np.isfinite(float(value))]
        error = diverged(self.updates, ", ".join(lost) or "the TD error")
        error.batches = batches
        raise error

    def pictures(self) -> dict[str, np.ndarray]:
        """What there is to see of the newest windows: {name: picture [H, W, channels] uint8}."""
        return {} if self._batches is None else self.agent.pictures(self._batches)

    def metrics(self) -> dict[str, float]:
        """Newest losses and statistics as plain numbers."""
        values = {name: float(value) for name, value in self.latest.items()} | {"learner/skipped": self.skipped}
        ratios = {"updates_per_step": self.limiter.ratio, "updates_per_step_target": self.limiter.target}
        return values | self.replay.metrics() | {f"replay/{name}": value for name, value in ratios.items()}
