"""A child process of this machine that runs one job."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.parent_watch import END_REQUEST
from launchers.jobs.resources import Share
from sac.config.overrides import PROGRAM, program


class Worker:
    """Starts the job's child process. The child ends when this process has ended, see parent_watch."""

    def __init__(self, job: Job, share: Share):
        share.give(job)
        job.write()
        self.job, self.share, self._asked, self._began = job, share, False, time.monotonic()
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        environment = os.environ | {PROGRAM: program()} | job.env | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
        with job.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", job.module, str(job.folder)],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment,
                # In a group of its own, the child does not get the terminal's Ctrl-C: the parent asks it to end.
                start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows only
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def status(self) -> Status:
        """How far the job is; a process that has written no status yet counts as running."""
        status = self.job.status()
        if status.state == states.WAITING:
            status.state = states.RUNNING
        return status

    def silent_seconds(self) -> float:
        """Seconds since the process last wrote its status, or since it was started."""
        try:
            return time.time() - (self.job.folder / "status.json").stat().st_mtime
        except OSError:  # not written yet
            return time.monotonic() - self._began

    def processes(self) -> list[tuple[str, Status]]:
        return []

    def poll(self) -> Status | None:
        """How the job ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        status = self.job.status()
        if not status.over:  # the process could not write how it ended
            error = f"{states.KILLED} {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            status.state, status.error = states.INTERRUPTED if self._asked else states.FAILED, error
        return status

    def ask_to_end(self) -> None:
        self._asked = True
        with contextlib.suppress(OSError):
            self._stdin.write(END_REQUEST)
            self._stdin.flush()

    def kill(self) -> None:
        """Kills the process; the next `poll` returns how it ended."""
        self._process.kill()

    def end(self) -> None:
        """Kills the process and whatever is left in its process group."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._stdin.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin
