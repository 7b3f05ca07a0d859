"""The child process that runs a job of a search: `python -m launchers.search.trial_child <folder of the job>`.

It is `launchers.jobs.child` with an observer that reports the job's evaluations to the study.
"""

from __future__ import annotations

import sys
from pathlib import Path

from launchers.jobs.child import main, status_file_of
from launchers.jobs.job import Job
from launchers.jobs.status_file import StatusFile
from launchers.search.reporter import Reporter
from sac.errors import UserError
from sac.screen import unbreakable_screen


def reporter_of(job: Job) -> StatusFile:
    """The trial's reporter. When the study cannot be opened, the run goes on without reports."""
    assert job.trial is not None
    try:
        return Reporter(job.folder, job.trial)
    except UserError as error:
        sys.stderr.write(f"WARNING: the evaluations of this job are not reported to the study: {error}\n")
        return status_file_of(job)


if __name__ == "__main__":
    with unbreakable_screen():
        code = main(Path(sys.argv[1]), reporter_of)
    raise SystemExit(code)
