"""What a launcher's child process runs: `python -m launchers.jobs.child <folder of the job>`, without Hydra."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path

from filelock import FileLock, Timeout

from launchers.jobs import parent_watch
from launchers.jobs.job import Job
from launchers.jobs.status_file import StatusFile
from sac.config.validation import validated
from sac.errors import UserError
from sac.roles import run
from sac.runs.resume import stored_config
from sac.screen import unbreakable_screen

ANOTHER = 30.0  # seconds that a process of an earlier attempt, whose parent is gone, may need to end


def main(folder: Path) -> int:
    """Runs the job and returns its exit code."""
    parent_watch.hold()
    job = Job.read(folder)
    try:
        with FileLock(job.lock, timeout=ANOTHER):
            return _run(job)
    except Timeout:
        sys.stderr.write(f"error: another process still runs {folder}\n")
        return 1


def _run(job: Job) -> int:
    observer = _observer(job)
    try:
        value = run(validated(stored_config(job.config, job.typed, None if job.named else job.number)), observer)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        observer.failed(str(error))
    except KeyboardInterrupt:  # before training could take the signal
        observer.close(130, signal.Signals.SIGINT.name, {})
        return 130
    except Exception as error:
        traceback.print_exc()
        observer.failed(f"{type(error).__name__}: {error}", traceback.format_exc())
    else:
        if not observer.status.over:  # a role that keeps no record, e.g. play
            observer.close(0, "", {"objective": value})
        return 0
    return 1


def _observer(job: Job) -> StatusFile:
    if job.trial is None:
        return StatusFile(job.folder)
    from launchers.search.reporter import Reporter  # Optuna and its database take a second

    try:
        return Reporter(job.folder, job.trial)
    except UserError as error:  # costs the reports, not the run
        sys.stderr.write(f"WARNING: the study hears nothing of this job's evaluations: {error}\n")
        return StatusFile(job.folder)


if __name__ == "__main__":
    with unbreakable_screen():
        code = main(Path(sys.argv[1]))
    raise SystemExit(code)
