"""The launcher `roles`: every job of a multirun is a cell of processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.cells.cell import ORDER, Cell, parts_of
from launchers.cells.options import RoleOptions
from launchers.cells.population import Population, draws_of, evolves, population_of
from launchers.jobs import resources
from launchers.jobs.job import Job, Status
from launchers.jobs.pool import Pool
from launchers.jobs.processes import Processes
from launchers.jobs.resources import Share
from launchers.jobs.table import Table
from sac.config.run_names import name_in_multirun
from sac.config.validation import check_assignable
from sac.errors import UserError
from sac.runs.signals import Interruption

ROLE = "role="


class Cells(Processes):
    """The options stand in conf/hydra/launcher/roles.yaml. Raises UserError for those that make no sense."""

    Options = RoleOptions

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        super().__init__(context, config, options)
        self._roles: tuple[str, ...] = ORDER
        if config.net.directory == "static" and self.options.n_jobs > 1:
            raise UserError(
                f"net=static and hydra.launcher.n_jobs={self.options.n_jobs}: fixed ports are for one cell at a time; "
                "set hydra.launcher.n_jobs=1 or net=default"
            )

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Jobs that differ in their role only are one cell, with these roles; without roles it has all."""
        named = sorted({o.removeprefix(ROLE) for overrides in batch for o in overrides if o.startswith(ROLE)})
        unknown = set(named) - set(ORDER)
        if unknown:
            raise UserError(f"role={','.join(sorted(unknown))}: a cell has the roles {', '.join(ORDER)}")
        self._roles = tuple(named) or ORDER
        cells = dict.fromkeys(tuple(o for o in overrides if not o.startswith(ROLE)) for overrides in batch)
        return super().launch([list(overrides) for overrides in cells], first)

    def stream(self, jobs: Iterable[Job], total: int | None = None) -> Iterator[tuple[Job, Status]]:
        """Yields jobs as their cells end; like Processes.stream otherwise."""
        options = self.options
        n_jobs = options.n_jobs if total is None else max(min(options.n_jobs, total), 1)
        gpus = resources.visible_gpus() if options.gpus is None else [str(gpu) for gpu in options.gpus]
        with Interruption(doing="asking the cells to save and end") as interruption, Table(total) as table:
            shares = resources.divide(n_jobs, resources.cores(), gpus)
            yield from Pool(shares, table, interruption, options.grace, self._start).run(jobs)
        if interruption.requested:
            raise SystemExit(interruption.exit_code)

    def _start(self, job: Job, mine: Share) -> Cell | Population:
        options = self.options
        self.check(job)
        job.config.base.name = job.config.base.name if job.named else name_in_multirun(job.config, job.number)
        job.roles = True
        job.folder.mkdir(parents=True, exist_ok=True)
        # The learner is what a cell waits for: it may use every core, and actors hardly do while they wait for it.
        threads = {"replay": 1, "actor": options.actor_threads, "learner": options.learner_threads or mine.threads}
        if options.learners > 1:
            return population_of(job, mine, options.learners, options.actors, threads, options.actor_timeout)
        return Cell(job, mine, parts_of(job, mine, self._roles, options.actors, threads, options.actor_timeout))

    def check(self, job: Job) -> None:
        """Raises UserError where a job's config and the options contradict one another."""
        base, actors, patience = job.config.base, self.options.actors, self.options.actor_timeout
        for key in ("env_type", "timeout", "max_actors_each_learner", "evolver_enabled"):
            check_assignable(f"base.{key}", base[key])
        self._check_learners(job)
        if actors > base.max_actors_each_learner:
            raise UserError(
                f"hydra.launcher.actors={actors}: a learner takes base.max_actors_each_learner="
                f"{base.max_actors_each_learner}"
            )
        if base.env_type == "UNITY" and patience <= 2 * base.timeout:  # a step, and then a new start of the player
            raise UserError(
                f"hydra.launcher.actor_timeout={patience:g}: an actor may wait twice base.timeout={base.timeout:g} s "
                "for its Unity environment and must not be started again meanwhile: set it higher"
            )

    def _check_learners(self, job: Job) -> None:
        """Raises UserError for a population that cannot be."""
        if self.options.learners == 1:
            return
        draws_of(job, self.options.learners)
        many = f"hydra.launcher.learners={self.options.learners}"
        if self._roles != ORDER:
            raise UserError(f"{many}: a population has all roles, role=... has no place here")
        if job.config.net.directory != "file":
            raise UserError(f"{many}: its cells need net=default, not fixed addresses")
        check_assignable("eval.per_step", job.config.eval.per_step)
        if evolves(job.config) and job.config.eval.per_step < 1:
            raise UserError(
                f"{many}: learners are compared by their evaluations: set eval.per_step to a number of steps"
            )
