"""Jobs in processes of their own, so many at once; the next begins when a slot is free."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.parent_watch import END
from launchers.jobs.resources import Share
from launchers.jobs.table import Table
from sac.config.overrides import PROGRAM, program
from sac.runs.signals import Interruption

POLL = 0.1  # seconds


class Worker:
    """One child process with its job. It dies with this process, however that ends (see lifeline)."""

    def __init__(self, job: Job, share: Share):
        share.give(job)
        job.write()
        self.job, self.share, self._asked, self._began = job, share, False, time.monotonic()
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        own_group = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
        )  # the terminal's Ctrl-C reaches the parent only, who passes it on in order
        told = {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", PROGRAM: program()}
        with job.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "launchers.jobs.child", str(job.folder)],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                env=os.environ | job.env | told, **own_group,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def status(self) -> Status:
        """How far it is."""
        status = self.job.status()
        if status.state == states.WAITING:  # its process is still starting
            status.state = states.RUNNING
        return status

    def silent(self) -> float:
        """Seconds since it last told of itself."""
        try:
            return time.time() - (self.job.folder / "status.json").stat().st_mtime
        except OSError:  # it is still starting
            return time.monotonic() - self._began

    def parts(self) -> list[tuple[str, Status]]:
        """Processes that it consists of, where there are several: in words, and how far each is."""
        return []

    def outcome(self) -> Status | None:
        """None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        status = self.job.status()
        if not status.over:  # it could not say how it ended
            killed = f"{states.KILLED} {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            status.state, status.error = states.INTERRUPTED if self._asked else states.FAILED, killed
        return status

    def ask_to_end(self) -> None:
        self._asked = True
        with contextlib.suppress(OSError):
            self._process.stdin.write(END)
            self._process.stdin.flush()

    def kill(self) -> None:
        """At once; `outcome` says so then."""
        self._process.kill()

    def end(self) -> None:
        """At once, with whatever it has left in its group."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()


class Pool:
    """`run(jobs)` takes the next job when a slot is free, and yields each job with how it ended.

    After a signal no job begins any more and those that run are asked to save and end; one that does not within
    `grace` seconds is killed. `start(job, share)` makes what runs a job.
    """

    def __init__(
        self, shares: Sequence[Share], table: Table, interruption: Interruption, grace: float,
        start: Callable[[Job, Share], Worker] = Worker,
    ):  # fmt: skip
        self._shares, self._table, self._interruption, self._grace = shares, table, interruption, grace
        self._start = start

    def run(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Status]]:
        jobs, free, running = iter(jobs), list(self._shares)[::-1], []
        try:
            while True:
                while free and not self._interruption.requested and (job := next(jobs, None)) is not None:
                    running.append(self._start(job, free.pop()))
                    self._table.began(job)
                if not running:
                    return
                time.sleep(POLL)
                if self._interruption.requested:
                    self._end_in_order(running)
                for worker in list(running):
                    status = worker.outcome()
                    if status is not None:
                        if status.state == states.INTERRUPTED and not self._interruption.requested:
                            status.state, status.error = states.FAILED, f"ended by {status.error}"  # not by us
                        running.remove(worker)
                        worker.end()
                        free.append(worker.share)
                        self._table.ended(worker.job, status)
                        yield worker.job, status
                self._table.refresh(running)
        finally:
            if running:  # an error passes: nobody loses what has been learnt
                self._end_in_order(running)

    def _end_in_order(self, running: Sequence[Worker]) -> None:
        """Returns when all have ended."""
        for worker in running:
            worker.ask_to_end()
        until = time.monotonic() + self._grace
        while time.monotonic() < until:
            outcomes = [worker.outcome() for worker in running]  # of every one: asking is what lets a cell go on
            if None not in outcomes:
                break
            time.sleep(POLL)
            self._table.refresh(running)
        for worker in running:
            worker.end()
