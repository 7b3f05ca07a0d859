"""One process of a cell, through all its restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

from launchers.cells.restarts import POLICIES, Policy, Restarts
from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share
from launchers.jobs.running import RunningProcess
from launchers.jobs.worker import Worker


class Process:
    """A role's process, which may start again after its end; `start(job, share)` starts it.

    A process that has not written its status for more than `timeout` seconds hangs; None: it may be silent for long.
    `policy` says how often it may start again; None: as its role in a cell.
    """

    def __init__(
        self, role: str, job: Job, share: Share, timeout: float | None = None,
        start: Callable[[Job, Share], RunningProcess] = Worker, policy: Policy | None = None,
    ):  # fmt: skip
        self.role, self.job, self.share, self._timeout, self._start = role, job, share, timeout, start
        self.name = f"actor {job.config.net.number}" if role == "actor" else role
        self.restarts = Restarts(policy or POLICIES[role])
        self.worker: RunningProcess | None = None
        self.last: Status = Status()  # how the process last ended
        self.next_start: float | None = time.monotonic()  # None: no start is planned
        self._began = 0.0

    def start_if_due(self) -> None:
        if self.worker is None and self.next_start is not None and time.monotonic() >= self.next_start:
            self.next_start, self._began = None, time.monotonic()
            # Starting writes the share into the job, so each start gets a copy of the job as it was.
            copy = replace(self.job, config=deepcopy(self.job.config), env=dict(self.job.env))
            self.worker = self._start(copy, self.share)
            self.job.config.ckpt = "auto"  # only the first start uses a checkpoint that the user has chosen

    def kill_if_hung(self) -> None:
        """Kills a process that hangs; `poll` returns its end once the process is gone."""
        if self.worker is not None and self._timeout is not None and self.worker.silent_seconds() > self._timeout:
            self.worker.kill()

    def poll(self) -> Status | None:
        """How the process has ended, once for each of its ends; else None."""
        outcome = self.worker.poll() if self.worker is not None else None
        if outcome is not None:
            self.end()
            self.last = outcome
        return outcome

    def plan_restart(self, outcome: Status) -> bool:
        """Plans the next start after a process was killed or has failed; False when it must not start again."""
        lived = time.monotonic() - self._began
        bug = bool(outcome.traceback)
        user_error = outcome.state == states.FAILED and not bug and not outcome.killed
        if user_error:
            return False
        delay = self.restarts.after_exception(lived) if bug else self.restarts.after_death(lived)
        if delay is None:
            return False
        self.next_start = time.monotonic() + delay
        return True

    def cancel_restart(self) -> None:
        self.next_start = None

    def ask_to_end(self) -> None:
        """Asks the process, if there is one, to save and end."""
        if self.worker is not None:
            self.worker.ask_to_end()

    def end(self) -> None:
        """Kills whatever is left of the process."""
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    @property
    def alive(self) -> bool:
        return self.worker is not None

    def status(self) -> Status:
        """How far the process is; `waiting` while a start is planned, else how it last ended."""
        if self.worker is not None:
            return self.worker.status()
        return replace(self.last, state=states.WAITING) if self.next_start is not None else self.last

    def title(self) -> str:
        return self.name + f" (restarts: {self.restarts.count})" * bool(self.restarts.count)
