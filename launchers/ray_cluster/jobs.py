"""The launcher `ray`: runs every job of a multirun as a single process on a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig

from launchers.jobs.job import Job
from launchers.jobs.processes import Processes
from launchers.jobs.resources import Share
from launchers.jobs.running import RunningJob
from launchers.ray_cluster.cluster import alive_nodes, check_installed, connected, sent_environment
from launchers.ray_cluster.options import RayJobOptions
from launchers.ray_cluster.room import Room, part_of_a_gpu
from sac.errors import UserError

log = logging.getLogger(__name__)
MOST_JOBS = 10_000  # that run at once, however large the cluster is


class RayJobs(Processes):
    """Launches jobs with the options of conf/hydra/launcher/ray.yaml. Raises UserError for invalid options."""

    Options = RayJobOptions

    def __init__(self, context: HydraContext, config: DictConfig, options: Mapping[str, Any]):
        super().__init__(context, config, options)
        check_installed("ray")
        self._bundle: dict[str, float] = {}  # what Ray reserves for each job
        self._room = Room({}, list)

    @property
    def several_machines(self) -> bool:
        return self.options.address is not None

    def start(self, job: Job, share: Share) -> RunningJob:
        """Hands a job to Ray, which starts it on a node that has room for it."""
        from launchers.ray_cluster.job import RayJob  # importing Ray takes a second

        job.env = sent_environment(self.several_machines) | job.env
        job.folder.mkdir(parents=True, exist_ok=True)
        made = RayJob(job, share, self._bundle, self.options.restarts)
        made.start()
        return made

    def most_at_once(self) -> int:
        return self.options.n_jobs or MOST_JOBS

    def admits(self, running: int) -> bool:
        """Whether n_jobs alone bounds how many jobs run, or the cluster has room for one more."""
        return self.options.n_jobs is not None or running < self._room.jobs()

    @contextmanager
    def shares(self, n_jobs: int) -> Iterator[list[Share]]:
        """A slot for each job that may run at once, while this process is connected to Ray.

        Raises UserError without a cluster, and where a Ray of its own could never place a job.
        """
        options = self.options
        with connected(options.address, options.num_cpus * (n_jobs if options.n_jobs else 1)):
            nodes = alive_nodes()
            self._bundle = options.bundle(part_of_a_gpu(nodes, options.bundle(0.0), n_jobs))
            if options.num_gpus is None and "GPU" not in self._bundle and any("GPU" in node for node in nodes):
                log.warning("not all nodes have a GPU: jobs use none, so that they run on all; see num_gpus")
            self._room = Room(self._bundle, alive_nodes)
            if not self._room.jobs():
                self._complain_of_no_room()
            yield [Share(slot, options.threads) for slot in range(n_jobs)]

    def _complain_of_no_room(self) -> None:
        needs = ", ".join(f"{amount:g} {name}" for name, amount in self._bundle.items())
        if self.options.address is None:
            raise UserError(
                f"hydra.launcher: each job asks for {needs}, which this machine does not have: ask for less by "
                "num_cpus, num_gpus and custom, or name a cluster by address"
            )
        log.warning("no node has room for a job, which asks for %s: jobs wait until such a node joins", needs)
