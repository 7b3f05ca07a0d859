"""Runs jobs, so many at once: the next one begins when a slot is free."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share
from launchers.jobs.running import RunningJob
from launchers.jobs.table import Table
from launchers.jobs.worker import Worker
from sac.runs.signals import Interruption

POLL_SECONDS = 0.1


class Pool:
    """`run(jobs)` takes the next job when a slot is free, and yields each job with how it ended.

    After a signal no further job begins, and those that run are asked to save and end; a job that takes longer than
    `grace` seconds is killed. `start(job, share)` starts a job. Where jobs run, the next one also waits until
    `admits(number of running jobs)` is true.
    """

    def __init__(
        self, shares: Sequence[Share], table: Table, interruption: Interruption, grace: float,
        start: Callable[[Job, Share], RunningJob] = Worker, admits: Callable[[int], bool] = lambda running: True,
    ):  # fmt: skip
        self._shares, self._table, self._interruption, self._grace = shares, table, interruption, grace
        self._start, self._admits = start, admits

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Status]]:
        jobs, free = iter(jobs), list(self._shares)[::-1]
        running: list[RunningJob] = []
        try:
            while True:
                while self._may_begin(free, running) and (job := next(jobs, None)) is not None:
                    running.append(self._start(job, free.pop()))
                    self._table.began(job)
                if not running:
                    return
                time.sleep(POLL_SECONDS)
                if self._interruption.requested:
                    self._end_in_order(running)
                for worker in list(running):
                    status = worker.poll()
                    if status is not None:
                        if status.state == states.INTERRUPTED and not self._interruption.requested:
                            # Somebody else, not this process, has interrupted the job.
                            status.state, status.error = states.FAILED, f"ended by {status.error}"
                        running.remove(worker)
                        worker.end()
                        free.append(worker.share)
                        self._table.ended(worker.job, status)
                        yield worker.job, status
                self._table.refresh(running)
        finally:
            if running:  # an error passes through here: the jobs may still save what they have learnt
                self._end_in_order(running)

    def _may_begin(self, free: Sequence[Share], running: Sequence[RunningJob]) -> bool:
        return bool(free) and not self._interruption.requested and (not running or self._admits(len(running)))

    def _end_in_order(self, running: Sequence[RunningJob]) -> None:
        """Asks all jobs to end, and kills after `grace` seconds; returns when all have ended."""
        for worker in running:
            worker.ask_to_end()
        deadline = time.monotonic() + self._grace
        while time.monotonic() < deadline:
            ended = [worker.poll() is not None for worker in running]  # a list: each poll lets a cell's shutdown go on
            if all(ended):
                break
            time.sleep(POLL_SECONDS)
            self._table.refresh(running)
        for worker in running:
            worker.end()
