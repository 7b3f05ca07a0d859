"""The launcher `ray_roles`: every job of a multirun is a cell of processes on a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.cells.cell import Cell
from launchers.cells.cells import Cells
from launchers.jobs.job import Job, Status
from launchers.jobs.pool import Pool
from launchers.jobs.resources import Share, cores
from launchers.jobs.table import Table
from launchers.ray_cluster.options import RayOptions
from sac.config.run_names import name_in_multirun
from sac.errors import UserError
from sac.runs.signals import Interruption

log = logging.getLogger(__name__)
OURS = ("SAC_", "WANDB_")  # environment variables that go along to the nodes


class RayCells(Cells):
    """The options stand in conf/hydra/launcher/ray_roles.yaml. Raises UserError for those that make no sense."""

    Options = RayOptions

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        if config.net.directory == "static":
            raise UserError("net=static: Ray finds a place for each role, and ray_roles tells it to the others")
        super().__init__(context, config, options)
        if find_spec("ray") is None:
            raise UserError("hydra/launcher=ray_roles needs Ray: pip install -e '.[ray]'")

    def stream(self, jobs: Iterable[Job], total: int | None = None) -> Iterator[tuple[Job, Status]]:
        """Yields jobs as their cells end; like Processes.stream otherwise. Raises UserError without a cluster."""
        n_jobs = self.options.n_jobs if total is None else max(min(self.options.n_jobs, total), 1)
        shares = [Share(slot, threads=1) for slot in range(n_jobs)]
        with (
            self._connected(n_jobs),
            Interruption(doing="asking the cells to save and end") as interruption,
            Table(total) as table,
        ):
            yield from Pool(shares, table, interruption, self.options.grace, self._start).run(jobs)
        if interruption.requested:
            raise SystemExit(interruption.exit_code)

    def _start(self, job: Job, share: Share) -> Cell:
        from launchers.ray_cluster.cell import RayCell, make_keys  # Ray takes a second

        self.check(job)
        job.roles = True
        job.config.base.name = job.config.base.name if job.named else name_in_multirun(job.config, job.number)
        job.folder.mkdir(parents=True, exist_ok=True)
        job.env = {name: value for name, value in os.environ.items() if name.startswith(OURS)} | job.env
        keys = make_keys() if self.options.address is not None else None
        return RayCell(job, share, self._roles, self.options, keys)

    def _check_learners(self, job: Job) -> None:
        """There is one in each cell."""

    @contextmanager
    def _connected(self, n_jobs: int) -> Iterator[None]:
        """A Ray of one's own never refuses for want of cores: there its bookkeeping bounds nothing but n_jobs."""
        import ray

        options, need = self.options, self._need()
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if options.address is None:
                ray.init("local", num_cpus=max(cores(), n_jobs * need), include_dashboard=False, **quiet)
            else:
                _call(options.address)
                ray.init(options.address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"hydra.launcher.address={options.address}: {str(error).splitlines()[0]}") from error
        try:
            has = ray.cluster_resources().get("CPU", 0)
            if need > has:
                log.warning("a cell needs %g cores and the cluster has %g: it waits until nodes join", need, has)
            yield
        finally:
            ray.shutdown()

    def _need(self) -> float:
        """Cores of one cell."""
        numbers = {"actor": self.options.actors}
        return sum(self.options.resources[role].num_cpus * numbers.get(role, 1) for role in self._roles)


def _call(address: str) -> None:
    """Raises OSError when nobody answers at host:port: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()
