"""What launchers share whose jobs are several processes each."""

from __future__ import annotations

from collections.abc import Sequence

from launchers.cells.population import say_best
from launchers.jobs.job import Job, Status
from launchers.jobs.processes import Processes
from sac.config.run_names import name_in_multirun


class SeveralProcesses(Processes):
    """Launches jobs of several processes each."""

    def prepare(self, job: Job) -> None:
        """Checks a job that is about to start, and gives it its final base.name and its folder."""
        self.check(job)
        job.config.base.name = job.config.base.name if job.named else name_in_multirun(job.config, job.number)
        job.roles = True
        job.folder.mkdir(parents=True, exist_ok=True)

    def say_more(self, ended: Sequence[tuple[Job, Status]]) -> None:
        say_best(ended)
