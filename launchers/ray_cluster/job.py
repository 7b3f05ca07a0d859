"""One job as a single process that Ray places, and places again when it is lost."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from launchers.cells.process import Process
from launchers.cells.restarts import Policy
from launchers.cells.role_jobs import trusted
from launchers.jobs import job as states
from launchers.jobs.job import KILLED, Job, Status
from launchers.jobs.resources import Share
from launchers.ray_cluster.remote_worker import REPLICA_THREADS, RemoteWorker
from launchers.ray_cluster.replica import Replica
from sac.errors import UserError
from sac.runs.resume import name_of_job

log = logging.getLogger(__name__)


class Attempt(RemoteWorker):
    """One process of the job, in a Ray actor of its own that ends with it."""

    loss = f"{KILLED} the loss of its Ray actor or node"  # words after which a process may start again

    def end(self) -> None:
        super().end()
        ray.kill(self._replica)


@dataclass(frozen=True)
class Places:
    """Starts processes on nodes that have room for `bundle`, each in a Ray actor of its own."""

    bundle: Mapping[str, float]  # resource -> amount, under Ray's names
    replica: type[Replica] = Replica  # what the Ray actor is
    told: tuple[Any, ...] = ()  # arguments of the replica, after the folder

    def start(self, job: Job, share: Share) -> Attempt:
        """Asks Ray for a place for the job's process; a Process calls this for each of its starts."""
        custom = dict(self.bundle)
        replica = ray.remote(self.replica).options(
            name=f"{job.config.base.name} {secrets.token_hex(4)}",
            num_cpus=custom.pop("CPU"), num_gpus=custom.pop("GPU", 0), resources=custom,
            # When a Ray actor is lost before it has begun, on a node that Ray took for alive, Ray itself moves it.
            max_restarts=-1, max_task_retries=0, max_concurrency=REPLICA_THREADS,
        ).remote(str(Path.cwd()), *self.told)  # fmt: skip
        return Attempt(replica, job, share)


def policy_of(restarts: int) -> Policy:
    """A process starts again after so many losses or deaths by a signal (-1: without end), and after no exception."""
    return Policy(deaths=None if restarts < 0 else restarts, exceptions=0)


class RayJob:
    """Runs a job on any node that has room for `bundle`; for a Pool it is a RunningJob.

    A job whose Ray actor or node is lost, or whose process was ended by a signal, starts again up to `restarts` times
    (-1: without end), and goes on from its newest checkpoint.
    """

    def __init__(self, job: Job, share: Share, bundle: Mapping[str, float], restarts: int):
        self.job, self.share, self._places = job, share, Places(bundle)
        self._policy = policy_of(restarts)
        self._process: Process | None = None  # None: the job was refused
        self._asked = False
        self._result: Status | None = None

    def start(self) -> None:
        """Gives the job its final name, which further starts need, and asks Ray for a place; or refuses the job."""
        job = self.job
        try:
            job.config.base.name = job.config.base.name if job.named else name_of_job(job.config, job.number)
            job.named = True
            mine = trusted(job)
        except UserError as error:
            self._result = Status(states.FAILED, error=str(error))
            return
        self._process = Process(job.config.role, mine, self.share, start=self._places.start, policy=self._policy)
        self._process.start_if_due()

    def status(self) -> Status:
        """How far the job is; `waiting` until Ray has placed it."""
        if self._result is not None or self._process is None:
            return self._result or Status()
        status, count = self._process.status(), self._process.restarts.count
        return replace(status, note=f"restarts: {count}, {status.note}".rstrip(", ")) if count else status

    def processes(self) -> list[tuple[str, Status]]:
        return []

    def poll(self) -> Status | None:
        """Starts the process again where it may, and returns how the job ended; None while it goes on."""
        if self._result is None and self._process is not None:
            ended = self._process.poll()
            if ended is not None and not self._starts_again(self._process, ended):
                self._result = ended
            elif self._asked and not self._process.alive:  # lost before, and not placed since
                self._result = replace(self._process.last, state=states.INTERRUPTED)
            else:
                self._process.start_if_due()
        return self._result

    def ask_to_end(self) -> None:
        self._asked = True
        if self._process is not None:
            self._process.cancel_restart()
            self._process.ask_to_end()

    def end(self) -> None:
        """Kills the process."""
        if self._process is not None:
            status = self.status()
            self._process.cancel_restart()
            self._process.end()
            self._result = self._result or replace(status, state=states.INTERRUPTED, error="killed")

    def _starts_again(self, process: Process, ended: Status) -> bool:
        over = self._asked or ended.state in (states.DONE, states.PRUNED)
        if over or not process.plan_restart(ended):
            return False
        words = "job %d: %s; it goes on from its newest checkpoint (restart %d)"
        log.warning(words, self.job.number, ended.error, process.restarts.count)
        return True
