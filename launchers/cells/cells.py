"""The launcher `roles`: runs every job of a multirun as a cell of processes, or as a population of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.cells.cell import Cell
from launchers.cells.members import Members, check_population, check_sharing, population_of
from launchers.cells.options import RoleOptions
from launchers.cells.population import Population
from launchers.cells.role_jobs import processes_of
from launchers.cells.several import SeveralProcesses
from launchers.cells.shutdown import ROLES_IN_SHUTDOWN_ORDER as ALL_ROLES
from launchers.jobs.job import Job
from launchers.jobs.resources import Share
from sac.config.validation import check_assignable
from sac.errors import UserError

ROLE = "role="


class Cells(SeveralProcesses):
    """Launches cells with the options of conf/hydra/launcher/roles.yaml. Raises UserError for invalid options."""

    Options: type[Any] = RoleOptions
    doing = "asking the cells to save and end"

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        super().__init__(context, config, options)
        self._roles: tuple[str, ...] = ALL_ROLES
        if config.net.directory == "static" and self.options.n_jobs > 1:
            raise UserError(
                f"net=static and hydra.launcher.n_jobs={self.options.n_jobs}: fixed ports are for one cell at a time; "
                "set hydra.launcher.n_jobs=1 or net=default"
            )

    def launch(self, batch: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Runs each job as a cell with all roles. Jobs that differ only in `role` become one cell with these roles."""
        named = sorted({o.removeprefix(ROLE) for overrides in batch for o in overrides if o.startswith(ROLE)})
        unknown = set(named) - set(ALL_ROLES)
        if unknown:
            raise UserError(f"role={','.join(sorted(unknown))}: a cell has the roles {', '.join(ALL_ROLES)}")
        self._roles = tuple(named) or ALL_ROLES
        cells = dict.fromkeys(tuple(o for o in overrides if not o.startswith(ROLE)) for overrides in batch)
        return super().launch([list(overrides) for overrides in cells], first)

    def start(self, job: Job, share: Share) -> Cell | Population:
        """Starts a cell, or a population where there are several learners."""
        self.prepare(job)
        learners, members = self.options.learners, self.members(share)
        made = population_of(job, share, learners, members) if learners > 1 else members.cell(job, 1)
        made.start()
        return made

    def members(self, share: Share) -> Members:
        """Makes the cells of one job, and the evolver of a population."""
        return CellsHere(share, self._roles, self.options)

    def check(self, job: Job) -> None:
        base, actors, timeout = job.config.base, self.options.actors, self.options.actor_timeout
        for key in ("env_type", "timeout", "max_actors_each_learner", "evolver_enabled"):
            check_assignable(f"base.{key}", base[key])
        check_sharing(job, single_process=False)
        self._check_learners(job)
        if actors > base.max_actors_each_learner:
            raise UserError(
                f"hydra.launcher.actors={actors}: a learner takes base.max_actors_each_learner="
                f"{base.max_actors_each_learner}"
            )
        if (
            base.env_type == "UNITY" and timeout <= 2 * base.timeout
        ):  # one for a step, one for a new start of the player
            raise UserError(
                f"hydra.launcher.actor_timeout={timeout:g}: an actor may wait twice base.timeout={base.timeout:g} s "
                "for its Unity environment and must not be started again meanwhile: set it higher"
            )

    def _check_learners(self, job: Job) -> None:
        """Raises UserError for a population that cannot run."""
        if self.options.learners == 1:
            return
        if self._roles != ALL_ROLES:
            raise UserError(
                f"hydra.launcher.learners={self.options.learners}: a population has all roles, role=... has no place "
                "here"
            )
        check_population(job, self.options.learners)


@dataclass(frozen=True)
class CellsHere(Members):
    """Cells whose processes are on this machine; `share` is what each cell may use."""

    share: Share
    roles: Sequence[str]
    options: RoleOptions

    def cell(self, job: Job, number: int) -> Cell:
        # The cell waits for its learner, which may therefore use every core; actors need few while they wait.
        o, share = self.options, self.share
        threads = {"replay": 1, "actor": o.actor_threads, "learner": o.learner_threads or share.threads}
        processes = processes_of(job, share, self.roles, o.actors, threads, o.actor_timeout, learner=number)
        return Cell(job, share, processes)
