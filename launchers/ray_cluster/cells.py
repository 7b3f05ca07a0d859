"""The launcher `ray_roles`: runs every job of a multirun as a cell, or a population of cells, on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.cells.cells import Cells
from launchers.cells.members import Members
from launchers.jobs.job import Job
from launchers.jobs.resources import Share
from launchers.ray_cluster.cluster import check_installed, connected, sent_environment
from launchers.ray_cluster.options import RayCellOptions
from sac.config.schema import EVOLVER
from sac.errors import UserError

log = logging.getLogger(__name__)


class RayCells(Cells):
    """Launches cells with the options of conf/hydra/launcher/ray_roles.yaml. Raises UserError for invalid options."""

    Options = RayCellOptions

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        if config.net.directory == "static":
            raise UserError("net=static: Ray finds a place for each role, and ray_roles tells it to the others")
        super().__init__(context, config, options)
        check_installed("ray_roles")

    @property
    def several_machines(self) -> bool:
        return self.options.address is not None

    def prepare(self, job: Job) -> None:
        """As in Cells; also gives the job the environment variables that go along to the nodes."""
        super().prepare(job)
        job.env = sent_environment(self.several_machines) | job.env

    def members(self, share: Share) -> Members:
        """Makes the cells of one job on the nodes of the cluster, and the evolver of a population."""
        from launchers.ray_cluster.members import RayMembers  # importing Ray takes a second

        return RayMembers(share, self._roles, self.options, self.several_machines)

    @contextmanager
    def shares(self, n_jobs: int) -> Iterator[list[Share]]:
        """A slot for each job, while this process is connected to Ray. Raises UserError without a cluster.

        With address=null Ray starts on this machine, with as many cores as `n_jobs` jobs ask for: only n_jobs bounds
        how many jobs run at once.
        """
        with connected(self.options.address, n_jobs * self._cores_of_a_job()):
            self._warn_of_a_small_cluster()
            yield [Share(slot, threads=1) for slot in range(n_jobs)]

    def _warn_of_a_small_cluster(self) -> None:
        import ray

        need, has = self._cores_of_a_job(), ray.cluster_resources().get("CPU", 0)
        if need > has:
            log.warning(
                "a job needs %g cores and the cluster has %g: what has no room waits until nodes join", need, has
            )

    def _cores_of_a_job(self) -> float:
        learners, resources, numbers = self.options.learners, self.options.resources, {"actor": self.options.actors}
        cell = sum(resources[role].num_cpus * numbers.get(role, 1) for role in self._roles)
        return float(learners * cell + (resources[EVOLVER].num_cpus if learners > 1 else 0))
