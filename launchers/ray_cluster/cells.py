"""The launcher `ray_roles`: runs every job of a multirun as a cell of processes on a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.cells.cell import Cell
from launchers.cells.cells import Cells
from launchers.jobs.job import Job
from launchers.jobs.resources import Share, cores
from launchers.ray_cluster.options import RayOptions
from sac.errors import UserError

log = logging.getLogger(__name__)
SENT_PREFIXES = ("SAC_", "WANDB_")  # of the environment variables that are sent to the nodes
ADDRESS_TIMEOUT_SECONDS = 10


class RayCells(Cells):
    """Launches cells with the options of conf/hydra/launcher/ray_roles.yaml. Raises UserError for invalid options."""

    Options = RayOptions

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        if config.net.directory == "static":
            raise UserError("net=static: Ray finds a place for each role, and ray_roles tells it to the others")
        super().__init__(context, config, options)
        if find_spec("ray") is None:
            raise UserError("hydra/launcher=ray_roles needs Ray: pip install -e '.[ray]'")

    def start(self, job: Job, share: Share) -> Cell:
        """Starts a cell on the nodes of the cluster."""
        from launchers.ray_cluster.cell import RayCell, make_keys  # importing Ray takes a second

        self.prepare(job)
        job.env = {name: value for name, value in os.environ.items() if name.startswith(SENT_PREFIXES)} | job.env
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
        import ray

        options, need = self.options, self._cores_of_a_cell()
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if options.address is None:
                ray.init("local", num_cpus=max(cores(), n_jobs * need), include_dashboard=False, **quiet)
            else:
                _check_address(options.address)
                ray.init(options.address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"hydra.launcher.address={options.address}: {str(error).splitlines()[0]}") from error
        try:
            has = ray.cluster_resources().get("CPU", 0)
            if need > has:
                log.warning("a cell needs %g cores and the cluster has %g: it waits until nodes join", need, has)
            yield [Share(slot, threads=1) for slot in range(n_jobs)]
        finally:
            ray.shutdown()

    def _cores_of_a_cell(self) -> float:
        numbers = {"actor": self.options.actors}
        return sum(self.options.resources[role].num_cpus * numbers.get(role, 1) for role in self._roles)


def _check_address(address: str) -> None:
    """Raises OSError when no server answers at host:port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=ADDRESS_TIMEOUT_SECONDS).close()
