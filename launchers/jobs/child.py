"""The child process that runs one job: `python -m launchers.jobs.child <folder of the job>`, without Hydra."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.jobs.job import Job
from launchers.jobs.parent_watch import watch_parent
from launchers.jobs.status_file import StatusFile
from sac.config.validation import validated
from sac.errors import UserError
from sac.roles import run
from sac.runs.lock import ending_seconds
from sac.runs.resume import stored_config
from sac.screen import unbreakable_screen

LOCK_TIMEOUT_SECONDS = 30.0  # time for the process of an earlier attempt to end after it has lost its parent


def status_file_of(job: Job) -> StatusFile:
    return StatusFile(job.folder)


def main(folder: Path, observer_of: Callable[[Job], StatusFile] = status_file_of) -> int:
    """Runs the job in `folder` and returns its exit code; `observer_of(job)` makes the observer of its run."""
    watch_parent()
    job = Job.read(folder)
    try:
        with FileLock(job.lock, timeout=ending_seconds(LOCK_TIMEOUT_SECONDS)):
            return _run(job, observer_of(job))
    except Timeout:
        sys.stderr.write(f"error: another process still runs {folder}\n")
        return 1


def _run(job: Job, observer: StatusFile) -> int:
    try:
        value = run(validated(stored_config(job.config, job.typed, None if job.named else job.number)), observer)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        observer.failed(str(error))
    except KeyboardInterrupt:  # the signal came before training had installed its own handler
        observer.close(130, signal.Signals.SIGINT.name, {})
        return 130
    except Exception as error:
        traceback.print_exc()
        observer.failed(f"{type(error).__name__}: {error}", traceback.format_exc())
    else:
        if not observer.status.over:  # a role without a tracker, e.g. play, does not close its observers
            observer.close(0, "", {"objective": value})
        return 0
    return 1


if __name__ == "__main__":
    with unbreakable_screen():
        code = main(Path(sys.argv[1]))
    raise SystemExit(code)
