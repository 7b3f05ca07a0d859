"""The Ray actor of one process, which is its child on whichever node Ray has found.

The processes do not load Ray, which would take over SIGTERM there and end a process together with the node's manager.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import ray

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.pool import POLL_SECONDS
from launchers.jobs.resources import Share
from launchers.jobs.worker import Worker


class Replica:
    """Runs a process in `folder`, the working folder of the launcher; answers the RemoteWorker in the launcher."""

    restarted = False  # whether Ray has started this actor again after the process had run

    def __init__(self, folder: str):
        self._folder = folder
        self._child: Worker | None = None
        self._asked = False

    @contextmanager
    def surrounded(self, job: Job) -> Iterator[Callable[[], None]]:
        """Prepares what the job's process needs around it; yields what is due at each look at the process."""
        yield lambda: None

    def run(self, job: Job, share: Share) -> Status:
        """Runs the process and returns how it ended. When this Ray actor is lost, Ray may call `run` of a new one."""
        try:
            os.chdir(self._folder)
            job.folder.parent.stat()
        except OSError as error:
            here = ray.util.get_node_ip_address()
            return Status(states.FAILED, error=f"node {here} does not share the disk of this run: {error}")
        if self.restarted:
            job.config.ckpt = "auto"  # the process of the lost Ray actor has begun the run
        gpus = ",".join(str(gpu) for gpu in ray.get_gpu_ids())
        with self.surrounded(job) as look:
            child = Worker(job, replace(share, gpu=gpus or "-1"))
            self._child = child
            try:
                if self._asked:
                    child.ask_to_end()
                while (outcome := child.poll()) is None:
                    look()
                    time.sleep(POLL_SECONDS)
                return outcome
            finally:
                child.end()
                self._child = None

    def status(self) -> tuple[Status, float]:
        """How far the process is, and how many seconds ago it wrote its status, by the clock of its node."""
        child = self._child
        if child is None:
            return Status(states.RUNNING), 0.0
        status = child.status()
        if self.restarted:
            status.note = "restarted by Ray" + f", {status.note}" * bool(status.note)
        return status, child.silent_seconds()

    def ask_to_end(self) -> None:
        self._asked = True
        if (child := self._child) is not None:
            child.ask_to_end()

    def kill(self) -> None:
        """Kills the process; `run` returns how it ended."""
        if (child := self._child) is not None:
            child.kill()

    def end(self) -> None:
        """Kills the process and whatever it has started."""
        self._asked = True
        if (child := self._child) is not None:
            child.ask_to_end()
            child.end()
