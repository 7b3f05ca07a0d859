"""The launcher `processes`: runs every job of a multirun in a process of its own, so many at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from launchers.jobs import job as states
from launchers.jobs import resources, summary
from launchers.jobs.compose import Composition, varying
from launchers.jobs.job import Job, Status
from launchers.jobs.options import ProcessOptions
from launchers.jobs.pool import Pool
from launchers.jobs.resources import Share
from launchers.jobs.running import RunningJob
from launchers.jobs.table import Table
from launchers.jobs.worker import Worker
from sac.config.overrides import run_command, same_command
from sac.config.validation import checked
from sac.errors import UserError
from sac.runs.signals import Interruption
from sac.track.wandb_run import sync_command, unsynced


class Processes:
    """Launches jobs with the options of conf/hydra/launcher/processes.yaml. Raises UserError for invalid options.

    Launchers that run jobs in another way inherit from this class, and replace `start`, `shares`, `check` ...
    """

    Options: type[Any] = ProcessOptions
    options: Any  # an instance of Options
    doing = "asking the jobs to save and end"  # shown after Ctrl-C

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        self._config, self.options = config, checked(self.Options, options, "hydra.launcher.")
        self.composition = Composition(context, config)
        if config.hydra.sweeper.get("max_batch_size") is not None:
            raise UserError(
                "hydra.sweeper.max_batch_size: leave it out, hydra.launcher.n_jobs bounds what runs at once"
            )

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Runs all jobs to their ends and prints the summary. Raises UserError when some have failed."""
        folder = Path(self._config.hydra.sweep.dir)
        shown = varying(batch)
        jobs = [
            self.composition.job(first + i, overrides, folder / "jobs", shown[i], group=folder.name)
            for i, overrides in enumerate(batch)
        ]
        for job in jobs:
            self.check(job)
        ended: list[tuple[Job, Status]] = []
        try:
            for job, status in self.stream(jobs, len(jobs)):
                ended.append((job, status))
        except SystemExit:
            _say_how_to_go_on(ended)
            raise
        print(summary.write(ended, folder), flush=True)
        self.say_more(ended)
        _say_what_to_upload(ended)
        _complain(ended)
        return [_returned(job, status) for job, status in sorted(ended, key=lambda one: one[0].number)]

    def say_more(self, ended: Sequence[tuple[Job, Status]]) -> None:
        """Prints what the user wants to know besides the summary."""

    @property
    def several_machines(self) -> bool:
        """Whether jobs may run on machines that share nothing but a disk."""
        return False

    def check(self, job: Job) -> None:
        """Raises UserError for a job that these options do not fit."""

    def start(self, job: Job, share: Share) -> RunningJob:
        """Starts a job in a slot of the pool."""
        return Worker(job, share)

    @contextmanager
    def shares(self, n_jobs: int) -> Iterator[list[Share]]:
        """What each of `n_jobs` slots of the pool may use, while the jobs run."""
        gpus = resources.visible_gpus() if self.options.gpus is None else [str(gpu) for gpu in self.options.gpus]
        yield resources.divide(n_jobs, resources.cores(), gpus)

    def most_at_once(self) -> int:
        """How many jobs may run at once."""
        return int(self.options.n_jobs or resources.cores())

    def admits(self, running: int) -> bool:
        """Whether a further job may begin beside `running` others, while a slot is free."""
        return True

    def stream(self, jobs: Iterable[Job], total: int | None = None) -> Iterator[tuple[Job, Status]]:
        """Yields jobs as they end; takes the next of `jobs` when a slot is free. `total` is their number, if known.

        After a signal it waits until all running jobs have ended, and raises SystemExit with the signal's exit code
        (130 for SIGINT, 75 for SIGTERM).
        """
        n_jobs = self.most_at_once()
        if total is not None:
            n_jobs = max(min(n_jobs, total), 1)
        with (
            self.shares(n_jobs) as shares,
            Interruption(doing=self.doing) as interruption,
            Table(total) as table,
        ):
            yield from Pool(shares, table, interruption, self.options.grace, self.start, self.admits).run(jobs)
        if interruption.requested:
            raise SystemExit(interruption.exit_code)


def _say_how_to_go_on(ended: Sequence[tuple[Job, Status]]) -> None:
    for job, status in ended:
        if status.state == states.INTERRUPTED and status.folder:
            if job.roles:
                print(f"job {job.number} goes on with: {_cell_command(job)}")
                continue
            base = OmegaConf.merge(job.config.base, {"name": Path(status.folder).name})
            print(f"job {job.number} goes on with: {run_command(OmegaConf.create({'base': base}), 'ckpt=latest')}")


def _cell_command(job: Job) -> str:
    """The command that was typed; base.name is added to it where a repetition would otherwise name another run."""
    name = job.config.base.name.removesuffix(f"-{job.number}")
    repeatable = any(word.lstrip("+").startswith("base.name=") and "{time}" not in word for word in sys.argv[1:])
    return same_command(None if repeatable else name)


def _say_what_to_upload(ended: Sequence[tuple[Job, Status]]) -> None:
    folders = [folder for _, status in ended if status.folder for folder in unsynced(status.folder)]
    if folders:
        print(f"upload:  {sync_command(folders)}", flush=True)


def _complain(ended: Sequence[tuple[Job, Status]]) -> None:
    failed = [(job, status) for job, status in ended if status.state == states.FAILED]
    if failed:
        lines = [
            f"  job {job.number} ({' '.join(job.overrides)}): {status.error}; see {job.screens}"
            for job, status in failed
        ]
        bugs = [status.traceback for _, status in failed if status.traceback]
        lines += [f"\n{bugs[0].rstrip()}"] if bugs else []  # at the end of the message, where it is seen
        raise UserError(f"{len(failed)} of {len(ended)} jobs failed:\n" + "\n".join(lines))


def _returned(job: Job, status: Status) -> JobReturn:
    """The form in which Hydra's own sweepers read a result."""
    objective = status.result.get("objective")
    value = math.nan if objective is None else float(objective)
    return JobReturn(overrides=job.overrides, cfg=job.config, status=JobStatus.COMPLETED, _return_value=value)
