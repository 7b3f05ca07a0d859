"""A cell whose processes run on the nodes on which Ray has placed them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from launchers.cells.cell import Cell
from launchers.cells.role_jobs import processes_of
from launchers.jobs.job import Job
from launchers.jobs.resources import Share
from launchers.ray_cluster.cell_replica import ADDRESSES, AddressBook, CellReplica, Network
from launchers.ray_cluster.options import RayCellOptions
from launchers.ray_cluster.remote_worker import REPLICA_THREADS, RemoteWorker
from sac.wire.keys import Keys


class RayCell(Cell):
    """A cell in a placement group of its own, whose processes find each other by the address book in namespace `space`.

    `number` is that of its learner in a population.
    """

    def __init__(
        self, job: Job, share: Share, roles: Sequence[str], options: RayCellOptions, keys: dict[str, str] | None,
        number: int,
    ):  # fmt: skip
        self._options, self._keys = options, keys
        self.space = f"{job.config.base.scene}/{job.config.base.name}-{secrets.token_hex(4)}"
        self._replicas: dict[str, Any] = {}
        threads = {role: resources.threads for role, resources in options.resources.items()}
        processes = processes_of(
            job, share, roles, options.actors, threads, options.actor_timeout, self._start_process, number
        )
        gpus = float("GPU" in ray.cluster_resources())
        self._bundles = [options.resources[process.role].bundle(gpus) for process in processes]
        self._indices = {process.job.folder: index for index, process in enumerate(processes)}
        self._group = placement_group(self._bundles, options.placement, name=self.space)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._book = ray.remote(AddressBook).options(
            name=ADDRESSES, namespace=self.space, num_cpus=0, max_restarts=-1, scheduling_strategy=here
        ).remote()  # fmt: skip
        super().__init__(job, share, processes)

    def end(self) -> None:
        super().end()
        remove_placement_group(self._group)
        ray.kill(self._book)

    def _start_process(self, job: Job, share: Share) -> RemoteWorker:
        """Starts a process in its Ray actor, which a restarted process keeps."""
        name = job.folder.name
        if name not in self._replicas:
            self._replicas[name] = self._replica(name, job)
        return RemoteWorker(self._replicas[name], job, share)

    def _replica(self, name: str, job: Job) -> Any:
        index, role = self._indices[job.folder], job.config.role
        bundle = dict(self._bundles[index])
        return ray.remote(CellReplica).options(
            name=name, namespace=self.space, num_cpus=bundle.pop("CPU"), num_gpus=bundle.pop("GPU", 0),
            resources=bundle, max_restarts=self._options.restarts[role], max_task_retries=-1,
            max_concurrency=REPLICA_THREADS,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, index),
        ).remote(str(Path.cwd()), [self.space], Network(keys_for(role, self._keys)))  # fmt: skip


def make_keys() -> dict[str, str]:
    """New keys for one job: file name -> text."""
    with TemporaryDirectory(prefix="sac-") as folder:
        Keys.make(Path(folder))
        return {file.name: file.read_text(encoding="utf8") for file in Path(folder).iterdir()}


def keys_for(role: str, keys: dict[str, str] | None) -> dict[str, str] | None:
    """The keys that a role needs. An actor is a client of the servers and gets no secret of theirs."""
    if keys is None or role != "actor":
        return keys
    return {name: text for name, text in keys.items() if name in ("client.key_secret", "server.key")}
