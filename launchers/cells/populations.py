"""The launcher `population`: runs every job of a multirun as a population whose learners are single processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from launchers.cells.cell import Cell
from launchers.cells.members import Members, check_population, check_sharing, population_of
from launchers.cells.options import PopulationOptions
from launchers.cells.population import Population
from launchers.cells.process import Process
from launchers.cells.role_jobs import copy_of, trusted
from launchers.cells.several import SeveralProcesses
from launchers.jobs.job import Job
from launchers.jobs.resources import Share
from sac.errors import UserError


class Populations(SeveralProcesses):
    """Launches populations with the options of conf/hydra/launcher/population.yaml.

    Each learner is one process with the role `train`, and one more process is the evolver. Raises UserError for invalid
    options.
    """

    Options: type[Any] = PopulationOptions
    doing = "asking the learners to save and end"

    def start(self, job: Job, share: Share) -> Population:
        """Starts a population."""
        self.prepare(job)
        learners = self.options.learners
        threads = self.options.threads or max(share.threads // learners, 1)
        members = SingleProcesses(replace(share, threads=threads), learners)
        population = population_of(job, share, learners, members)
        population.start()
        return population

    def check(self, job: Job) -> None:
        if job.config.role != "train":
            raise UserError(f"role={job.config.role}: hydra/launcher=population trains: leave role out")
        check_population(job, self.options.learners)
        check_sharing(job, single_process=True)


@dataclass(frozen=True)
class SingleProcesses(Members):
    """So many learners as single processes of this machine; `share` is what each of them may use, but for its slot."""

    share: Share
    learners: int

    def cell(self, job: Job, number: int) -> Cell:
        mine = trusted(job)
        config = copy_of(mine.config)
        config.net.number, config.ckpt = number, config.ckpt or "auto"
        alone = Job(number, mine.folder / config.role, config, [], mine.typed, named=True, env=dict(mine.env))
        slot = self.share.slot * self.learners + number - 1  # each learner has ports of its own
        return Cell(job, self.share, [Process(config.role, alone, replace(self.share, slot=slot))])
