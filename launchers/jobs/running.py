"""What a Pool holds for each job that runs: one child process, or several."""

from __future__ import annotations

from typing import Protocol

from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share


class RunningJob(Protocol):
    """A job that runs: a Worker, or a cell or a population of several of them."""

    job: Job
    share: Share

    def status(self) -> Status:
        """How far the job is."""

    def processes(self) -> list[tuple[str, Status]]:
        """Title and status of each process, where a job has several; else nothing."""

    def poll(self) -> Status | None:
        """Does what is due, e.g. restarts processes, and returns how the job ended; None while it runs."""

    def ask_to_end(self) -> None:
        """Asks the job to save and end; returns at once."""

    def end(self) -> None:
        """Kills whatever is left of the job."""


class RunningProcess(RunningJob, Protocol):
    """One process, on this machine or on another one."""

    def silent_seconds(self) -> float:
        """Seconds since the process last wrote its status."""

    def kill(self) -> None:
        """Kills the process; the next `poll` returns how it ended."""
