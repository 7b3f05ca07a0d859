"""The launcher `ray_roles`: runs every job of a multirun as a cell of processes on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.cells.cell import Cell
from launchers.cells.cells import Cells
from launchers.jobs.job import Job
from launchers.jobs.resources import Share
from launchers.ray_cluster.cluster import check_installed, connected, sent_environment
from launchers.ray_cluster.options import RayCellOptions
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

    def start(self, job: Job, share: Share) -> Cell:
        """Starts a cell on the nodes of the cluster."""
        from launchers.ray_cluster.cell import RayCell, make_keys  # importing Ray takes a second

        self.prepare(job)
        job.env = sent_environment(self.several_machines) | job.env
        keys = make_keys() if self.options.address is not None else None
        cell = RayCell(job, share, self._roles, self.options, keys)
        cell.start()
        return cell

    def _check_learners(self, job: Job) -> None:
        """Does nothing: a cell of Ray has one learner."""

    @contextmanager
    def shares(self, n_jobs: int) -> Iterator[list[Share]]:
        """A slot for each cell, while this process is connected to Ray. Raises UserError without a cluster.

        With address=null Ray starts on this machine, with as many cores as `n_jobs` cells ask for: only n_jobs bounds
        how many cells run at once.
        """
        with connected(self.options.address, n_jobs * self._cores_of_a_cell()):
            self._warn_of_a_small_cluster()
            yield [Share(slot, threads=1) for slot in range(n_jobs)]

    def _warn_of_a_small_cluster(self) -> None:
        import ray

        need, has = self._cores_of_a_cell(), ray.cluster_resources().get("CPU", 0)
        if need > has:
            log.warning("a cell needs %g cores and the cluster has %g: it waits until nodes join", need, has)

    def _cores_of_a_cell(self) -> float:
        numbers = {"actor": self.options.actors}
        return sum(self.options.resources[role].num_cpus * numbers.get(role, 1) for role in self._roles)
