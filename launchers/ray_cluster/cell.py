"""A cell whose processes run on the nodes on which Ray has placed them."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from launchers.cells.cell import Cell
from launchers.cells.role_jobs import processes_of
from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share
from launchers.jobs.table import REFRESH_INTERVAL_SECONDS
from launchers.ray_cluster.options import RayOptions
from launchers.ray_cluster.replica import ADDRESSES, AddressBook, Network, Replica
from sac.wire.keys import Keys

KILL_TIMEOUT_SECONDS = 2.0  # time for a Ray actor to kill its process
REPLICA_THREADS = 4  # of a Ray actor: one waits for the process, the others answer


class RemoteWorker:
    """A process on another node: a RunningProcess that asks the Ray actor `replica` for everything."""

    def __init__(self, replica: Any, job: Job, share: Share):
        self.job, self.share, self._replica = job, share, replica
        self._outcome = replica.run.remote(job, share)
        self._status, self._placed = Status(states.RUNNING, note="waits for Ray to place it"), False
        self._answer: Any = None  # to the question for the status that is under way
        self._next_question, self._silent_seconds = 0.0, 0.0
        self._asked = self._killed = False

    def status(self) -> Status:
        """The latest status that has arrived; asks for the next one and never waits."""
        if self._answer is None and time.monotonic() >= self._next_question:
            self._next_question = time.monotonic() + REFRESH_INTERVAL_SECONDS
            self._answer = self._replica.status.remote()
        elif self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            with contextlib.suppress(RayError):
                (self._status, self._silent_seconds), self._placed = ray.get(self._answer), True
            self._answer = None
        return self._status

    def silent_seconds(self) -> float:
        """Seconds since the process last wrote its status, by its node's clock; 0 until Ray has placed it."""
        self.status()
        return self._silent_seconds

    def processes(self) -> list[tuple[str, Status]]:
        return []

    def poll(self) -> Status | None:
        """How the process ended; None while it runs, and while Ray places it on another node."""
        if not self._over:
            return None
        try:
            return ray.get(self._outcome)
        except RayError as error:
            lost = f"its Ray actor is lost: {' '.join(str(error).split())}"
            return Status(states.INTERRUPTED if self._asked else states.FAILED, error=lost)

    def ask_to_end(self) -> None:
        self._asked = True
        if self._placed:
            self._replica.ask_to_end.remote()
        else:
            self.end()

    def kill(self) -> None:
        """Kills the process; the next `poll` returns how it ended."""
        if not self._killed:
            self._killed = True
            self._replica.kill.remote()

    def end(self) -> None:
        """Kills the process; a Ray actor that does not answer is killed itself, and its process ends with it."""
        self._asked = True
        if self._over:
            return
        if self._placed:
            self._replica.end.remote()
            ray.wait([self._outcome], timeout=KILL_TIMEOUT_SECONDS)
        if not self._over:
            ray.kill(self._replica)

    @property
    def _over(self) -> bool:
        return bool(ray.wait([self._outcome], timeout=0)[0])


class RayCell(Cell):
    """A cell in a placement group of its own, whose processes find each other by an address book."""

    def __init__(self, job: Job, share: Share, roles: Sequence[str], options: RayOptions, keys: dict[str, str] | None):
        self._options, self._keys = options, keys
        self._namespace = f"{job.config.base.scene}/{job.config.base.name}-{secrets.token_hex(4)}"
        self._replicas: dict[str, Any] = {}
        threads = {role: resources.threads for role, resources in options.resources.items()}
        processes = processes_of(job, share, roles, options.actors, threads, options.actor_timeout, self._start_process)
        has_gpus = "GPU" in ray.cluster_resources()
        self._bundles = [options.resources[process.role].bundle(has_gpus) for process in processes]
        self._indices = {process.job.folder: index for index, process in enumerate(processes)}
        self._group = placement_group(self._bundles, options.placement, name=self._namespace)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._book = ray.remote(AddressBook).options(
            name=ADDRESSES, namespace=self._namespace, num_cpus=0, max_restarts=-1, scheduling_strategy=here
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
        return ray.remote(Replica).options(
            name=name, namespace=self._namespace, num_cpus=bundle.pop("CPU"), num_gpus=bundle.pop("GPU", 0),
            resources=bundle, max_restarts=self._options.restarts[role], max_task_retries=-1,
            max_concurrency=REPLICA_THREADS,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, index),
        ).remote(self._namespace, Network(keys_for(role, self._keys)), str(Path.cwd()))  # fmt: skip


def make_keys() -> dict[str, str]:
    """New keys for one cell: file name -> text."""
    with TemporaryDirectory(prefix="sac-") as folder:
        Keys.make(Path(folder))
        return {file.name: file.read_text(encoding="utf8") for file in Path(folder).iterdir()}


def keys_for(role: str, keys: dict[str, str] | None) -> dict[str, str] | None:
    """The keys that a role needs. An actor is a client of the servers and gets no secret of theirs."""
    if keys is None or role != "actor":
        return keys
    return {name: text for name, text in keys.items() if name in ("client.key_secret", "server.key")}
