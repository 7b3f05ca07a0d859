"""One cell: the processes of a replay, a learner and actors, which are started, watched, restarted and ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from launchers.cells.process import Process
from launchers.cells.shutdown import Shutdown
from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share

SAVE_SECONDS_PER_ROLE = 10.0  # time for each role to save and end, when an actor may not be started again
BUG_SECONDS_PER_ROLE = 1.0  # time for each role to end after a bug in the replay or the learner


class Cell:
    """Runs one job as several processes; for a Pool it is a RunningJob.

    When the learner has ended with success, the cell ends in order and with success. When the replay or the learner
    has a bug, the cell ends at once and has failed.
    """

    def __init__(self, job: Job, share: Share, processes: Sequence[Process]):
        self.job, self.share, self._processes = job, share, list(processes)
        self._shutdown: Shutdown | None = None
        self._result = Status()  # how the cell will have ended, once its shutdown has begun
        self._began = time.monotonic()

    def start(self) -> None:
        for process in self._processes:
            process.start_if_due()

    def status(self) -> Status:
        """The status of the learner, or of the first process where the cell has no learner."""
        status = replace(self._leader.status(), seconds=self._seconds())
        return replace(status, state=states.RUNNING) if status.state == states.WAITING else status

    def processes(self) -> list[tuple[str, Status]]:
        """Title and status of each process."""
        return [(process.title(), process.status()) for process in self._processes]

    def poll(self) -> Status | None:
        """Handles every process that has ended, starts those that are due, and lets a shutdown go on.

        Returns how the cell ended, when its processes have; else None.
        """
        for process in self._processes:
            process.kill_if_hung()
            ended = process.poll()
            if ended is not None and self._shutdown is None:
                self._on_end(process, ended)
            elif ended is not None:
                self._on_end_in_shutdown(process, ended)
            if self._shutdown is None:
                process.start_if_due()
        return self._result if self._shutdown is not None and self._shutdown.advance() else None

    def ask_to_end(self) -> None:
        if self._shutdown is None:
            self._begin_shutdown(replace(self.status(), state=states.INTERRUPTED))

    def end(self) -> None:
        """Kills all processes."""
        for process in self._processes:
            process.cancel_restart()
            process.end()

    @property
    def _leader(self) -> Process:
        """The process whose end is that of the cell: the learner, or the first process of a cell without one."""
        return next((process for process in self._processes if process.role == "learner"), self._processes[0])

    def _on_end(self, process: Process, ended: Status) -> None:
        """Ends the cell or plans a restart, after a process of the running cell has ended."""
        if process is self._leader and ended.state in (states.DONE, states.PRUNED):
            self._begin_shutdown(replace(ended, seconds=self._seconds()))
        elif ended.state == states.DONE:
            pass  # an actor or the replay has been told that the run is over: the learner will end soon
        elif not process.plan_restart(ended):
            result = self._failed(self.status(), process.name, ended)
            if process.role == "actor":
                self._begin_shutdown(result, SAVE_SECONDS_PER_ROLE)
            else:  # the learner's state is not worth keeping
                self._begin_shutdown(result, BUG_SECONDS_PER_ROLE, roles_to_kill=("learner",))

    def _on_end_in_shutdown(self, process: Process, ended: Status) -> None:
        """Takes over the result of an interrupted learner, and the failure of a replay that could not save."""
        if process is self._leader and self._result.state == states.INTERRUPTED:
            self._result = replace(ended, seconds=self._seconds())
        elif process.role == "replay" and ended.state == states.FAILED and not ended.killed:  # a kill loses no row
            self._result = self._failed(self._result, "replay, as it ended", ended)

    def _begin_shutdown(
        self, result: Status, seconds_per_role: float = float("inf"), roles_to_kill: Sequence[str] = ()
    ) -> None:
        self._result = result
        self._shutdown = Shutdown(self._processes, seconds_per_role, roles_to_kill)
        self._shutdown.begin()

    def _failed(self, status: Status, where: str, ended: Status) -> Status:
        return replace(status, state=states.FAILED, error=f"{where}: {ended.error}", traceback=ended.traceback)

    def _seconds(self) -> float:
        return time.monotonic() - self._began
