"""The launcher `processes`: every job of a multirun in a process of its own, so many at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from launchers import job as states
from launchers import share, summary
from launchers.composition import Composition, varying
from launchers.job import Job, Status
from launchers.pool import Pool
from launchers.table import Table
from sac.commands import run_command
from sac.errors import UserError
from sac.interruption import Interruption


@dataclass
class Processes:
    """`n_jobs` None: as many as there are cores. `gpus` None: all that are visible; [] leaves them alone."""

    context: HydraContext
    config: DictConfig
    n_jobs: int | None = None
    gpus: list[str] | None = None
    grace: float = 60.0

    def __post_init__(self):
        if self.n_jobs is not None and self.n_jobs < 1:
            raise UserError(f"hydra.launcher.n_jobs={self.n_jobs}: allowed is a whole number of at least 1 or null")
        if self.grace < 0:
            raise UserError(f"hydra.launcher.grace={self.grace}: allowed is a number of seconds of at least 0")
        self.composition = Composition(self.context, self.config)

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Runs a batch to its end and shows the summary. Jobs that failed come back as failed."""
        folder = Path(self.config.hydra.sweep.dir)
        shown = varying(batch)
        jobs = [
            self.composition.job(first + i, overrides, folder / "jobs", shown[i], group=folder.name)
            for i, overrides in enumerate(batch)
        ]
        ended: list[tuple[Job, Status]] = []
        try:
            for job, status in self.stream(jobs, len(jobs)):
                ended.append((job, status))
        except SystemExit:
            _say_how_to_go_on(ended)
            raise
        print(summary.write(ended, folder), flush=True)
        _complain(ended)
        return [_returned(job, status) for job, status in sorted(ended, key=lambda one: one[0].number)]

    def stream(self, jobs: Iterable[Job], total: int | None = None) -> Iterator[tuple[Job, Status]]:
        """Yields jobs as they end; `jobs` is asked for the next one when a process is free.

        Ends the program as by the signal (130, 75) when one came, after all that ran have ended.
        """
        n_jobs = self.n_jobs or share.cores()
        n_jobs = n_jobs if total is None else max(min(n_jobs, total), 1)
        gpus = share.visible_gpus() if self.gpus is None else [str(gpu) for gpu in self.gpus]
        with Interruption(doing="asking the jobs to save and end") as interruption, Table(total) as table:
            yield from Pool(share.divide(n_jobs, share.cores(), gpus), table, interruption, self.grace).run(jobs)
        if interruption.requested:
            raise SystemExit(interruption.exit_code)


def _say_how_to_go_on(ended: Sequence[tuple[Job, Status]]) -> None:
    for job, status in ended:
        if status.state == states.INTERRUPTED and status.folder:
            base = OmegaConf.merge(job.config.base, {"name": Path(status.folder).name})
            print(f"job {job.number} goes on with: {run_command(OmegaConf.create({'base': base}), 'ckpt=latest')}")


def _complain(ended: Sequence[tuple[Job, Status]]) -> None:
    failed = [(job, status) for job, status in ended if status.state == states.FAILED]
    if failed:
        lines = [
            f"  job {job.number} ({' '.join(job.overrides)}): {status.error}; see {job.log}" for job, status in failed
        ]
        raise UserError(f"{len(failed)} of {len(ended)} jobs failed:\n" + "\n".join(lines))


def _returned(job: Job, status: Status) -> JobReturn:
    """What Hydra's own sweepers read."""
    objective = status.result.get("objective")
    value = math.nan if objective is None else float(objective)
    return JobReturn(overrides=job.overrides, cfg=job.config, status=JobStatus.COMPLETED, _return_value=value)
