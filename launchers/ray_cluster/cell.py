"""A cell whose processes run wherever Ray has placed them; to Cell each is what a process of this machine is."""

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

from launchers.cells.cell import Cell, parts_of
from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.resources import Share
from launchers.jobs.table import EVERY
from launchers.ray_cluster.options import RayOptions
from launchers.ray_cluster.replica import ADDRESSES, AddressBook, Network, Replica
from sac.wire.keys import Keys

AT_ONCE = 2.0  # seconds that a Ray actor may take to kill its process
THREADS = 4  # of a Ray actor: one waits for the process, the others answer


class RemoteWorker:
    """A Worker somewhere else, through the Ray actor that watches it."""

    def __init__(self, replica, job: Job, share: Share):
        self.job, self.share, self._replica = job, share, replica
        self._end = replica.run.remote(job, share)
        self._status, self._placed = Status(states.RUNNING, note="waits for Ray to place it"), False
        self._news, self._next, self._log_prob_unknown = None, 0.0, 0.0
        self._asked = self._killed = False

    def status(self) -> Status:
        """The latest news; never waits."""
        if self._news is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            self._news = self._replica.status.remote()
        elif self._news is not None and ray.wait([self._news], timeout=0)[0]:
            with contextlib.suppress(RayError):
                (self._status, self._log_prob_unknown), self._placed = ray.get(self._news), True
            self._news = None
        return self._status

    def silent(self) -> float:
        """Seconds since the process last told of itself, as its node saw it; 0 until it has been placed."""
        self.status()
        return self._log_prob_unknown

    def parts(self) -> list[tuple[str, Status]]:
        return []

    def outcome(self) -> Status | None:
        """None while it runs, and while Ray looks for another place for it."""
        if not self._over:
            return None
        try:
            return ray.get(self._end)
        except RayError as error:
            why = f"its Ray actor is lost: {' '.join(str(error).split())}"
            return Status(states.INTERRUPTED if self._asked else states.FAILED, error=why)

    def ask_to_end(self) -> None:
        self._asked = True
        if self._placed:
            self._replica.ask_to_end.remote()
        else:
            self.end()

    def kill(self) -> None:
        """At once; `outcome` says so then."""
        if not self._killed:
            self._killed = True
            self._replica.kill.remote()

    def end(self) -> None:
        """At once. A Ray actor that does not answer is killed: its process ends with it."""
        self._asked = True
        if self._over:
            return
        if self._placed:
            self._replica.end.remote()
            ray.wait([self._end], timeout=AT_ONCE)
        if not self._over:
            ray.kill(self._replica)

    @property
    def _over(self) -> bool:
        return bool(ray.wait([self._end], timeout=0)[0])


class RayCell(Cell):
    """A Cell in a placement group of its own, with an address book."""

    def __init__(self, job: Job, share: Share, roles: Sequence[str], options: RayOptions, keys: dict[str, str] | None):
        self._options, self._keys = options, keys
        self._space = f"{job.config.base.scene}/{job.config.base.name}-{secrets.token_hex(4)}"
        self._replicas: dict[str, Any] = {}
        threads = {role: resources.threads for role, resources in options.resources.items()}
        parts = parts_of(job, share, roles, options.actors, threads, options.actor_timeout, self._start)
        has_gpus = "GPU" in ray.cluster_resources()
        self._bundles = [options.resources[part.role].bundle(has_gpus) for part in parts]
        self._indices = {part.job.folder: index for index, part in enumerate(parts)}
        self._group = placement_group(self._bundles, options.placement, name=self._space)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._book = ray.remote(AddressBook).options(
            name=ADDRESSES, namespace=self._space, num_cpus=0, max_restarts=-1, scheduling_strategy=here
        ).remote()  # fmt: skip
        super().__init__(job, share, parts)

    def end(self) -> None:
        super().end()
        remove_placement_group(self._group)
        ray.kill(self._book)

    def _start(self, job: Job, share: Share) -> RemoteWorker:
        """In the Ray actor that the process had in its life before, if it had one."""
        name = job.folder.name
        if name not in self._replicas:
            self._replicas[name] = self._replica(name, job)
        return RemoteWorker(self._replicas[name], job, share)

    def _replica(self, name: str, job: Job):
        index, role = self._indices[job.folder], job.config.role
        bundle = dict(self._bundles[index])
        return ray.remote(Replica).options(
            name=name, namespace=self._space, num_cpus=bundle.pop("CPU"), num_gpus=bundle.pop("GPU", 0),
            resources=bundle, max_restarts=self._options.restarts[role], max_task_retries=-1, max_concurrency=THREADS,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, index),
        ).remote(self._space, Network(keys_for(role, self._keys)), str(Path.cwd()))  # fmt: skip


def make_keys() -> dict[str, str]:
    """Fresh keys for one cell, as names and texts of their files."""
    with TemporaryDirectory(prefix="sac-") as folder:
        Keys.make(Path(folder))
        return {file.name: file.read_text(encoding="utf8") for file in Path(folder).iterdir()}


def keys_for(role: str, keys: dict[str, str] | None) -> dict[str, str] | None:
    """An actor only speaks to servers: it gets no server's secret."""
    needs = ("client.key_secret", "server.key") if role == "actor" else keys
    return None if keys is None else {name: text for name, text in keys.items() if name in needs}
