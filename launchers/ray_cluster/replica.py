"""What runs on the nodes of a Ray cluster: a Ray actor for each process of a cell, and one that knows all addresses.

Ray stays out of the processes themselves. In one of them it would take over SIGTERM, and end it with its own node
manager; so each is a child of its Ray actor, which passes addresses on by small files in a private folder of the node.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
from ray.exceptions import RayError

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.pool import POLL, Worker
from launchers.jobs.resources import Share
from sac.wire.discovery import Records

EVERY = 0.5  # seconds between two looks at the addresses
ADDRESSES = "addresses"  # name of the address book in the namespace of its cell
SERVERS = ("replay", "learner")  # roles that others look for


class AddressBook:
    """Of one cell. When it is lost with its node, the replicas fill the next one by their next exchange."""

    def __init__(self):
        self._addresses: dict[str, Mapping] = {}

    def exchange(self, mine: Mapping[str, Mapping]) -> dict[str, Mapping]:
        """Takes the records of a replica's server; returns all."""
        self._addresses |= mine
        return self._addresses


@dataclass(frozen=True)
class Network:
    """How the processes of a cell reach one another: with `keys` by their nodes' addresses, else on this node only."""

    keys: Mapping[str, str] | None  # file names and texts

    def settle(self, job: Job, private: Path) -> Records:
        """Writes into the job where its process listens and where it reads addresses: in `private`, on this node."""
        net, keys = job.config.net, private / "keys"
        net.directory, net.records = "ray", str(private / "addresses")
        net.bind = ray.util.get_node_ip_address() if self.keys else "127.0.0.1"
        net.keys = str(keys) if self.keys else None
        job.typed = {name: value for name, value in job.typed.items() if not name.startswith("net.")}
        keys.mkdir(mode=0o700)
        for name, text in (self.keys or {}).items():
            with open(keys / name, "w", opener=_private, encoding="utf8") as file:
                file.write(text)
        return Records(Path(net.records), net.bind)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


class Replica:
    """The Ray actor of one process: runs `launchers.jobs.child`, and what its supervisor asks of it."""

    def __init__(self, space: str, network: Network, folder: str):
        self._book, self._network, self._folder = ray.get_actor(ADDRESSES, space), network, folder
        self._child: Worker | None = None
        self._asked = False
        self._again = ray.get_runtime_context().was_current_actor_reconstructed

    def run(self, job: Job, share: Share) -> Status:
        """Returns how the process ended. When this Ray actor is lost, Ray makes another one and calls this again."""
        try:
            os.chdir(self._folder)
            job.folder.parent.stat()
        except OSError as error:
            here = ray.util.get_node_ip_address()
            return Status(states.FAILED, error=f"node {here} does not share the disk of this run: {error}")
        gpus = ",".join(str(gpu) for gpu in ray.get_gpu_ids())
        with TemporaryDirectory(prefix="sac-") as private:
            relay = Relay(self._book, job.config.role, self._network.settle(job, Path(private)))
            child = Worker(job, replace(share, gpu=gpus or "-1"))
            self._child = child
            try:
                if self._asked:
                    child.ask_to_end()
                while (outcome := child.outcome()) is None:
                    relay.turn()
                    time.sleep(POLL)
                return outcome
            finally:
                child.end()
                self._child = None

    def status(self) -> tuple[Status, float]:
        """How far the process is, and for how many seconds it has been silent by the clock of its node."""
        child = self._child
        if child is None:
            return Status(states.RUNNING), 0.0
        status = child.status()
        if self._again:
            status.note = "restarted by Ray" + f", {status.note}" * bool(status.note)
        return status, child.silent()

    def ask_to_end(self) -> None:
        self._asked = True
        if (child := self._child) is not None:
            child.ask_to_end()

    def kill(self) -> None:
        """At once; `run` says so then."""
        if (child := self._child) is not None:
            child.kill()

    def end(self) -> None:
        """At once, with whatever the process has started."""
        self._asked = True
        if (child := self._child) is not None:
            child.ask_to_end()
            child.end()


class Relay:
    """Passes on where this replica's process serves, and where the others do."""

    def __init__(self, book, role: str, records: Records):
        self._book, self._role, self._records = book, role, records
        self._known: dict[str, Mapping] = {}
        self._answer, self._next = None, 0.0

    def turn(self) -> None:
        """Never waits; a book that is lost is asked again until Ray has made another one."""
        if self._answer is None and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            mine = self._records.record(self._role) if self._role in SERVERS else None
            self._answer = self._book.exchange.remote({self._role: mine} if mine else {})
        elif self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            answer, self._answer = self._answer, None
            try:
                self._learn(ray.get(answer))
            except RayError:
                return

    def _learn(self, records: Mapping[str, Mapping]) -> None:
        for role, record in records.items():
            if role != self._role and self._known.get(role) != record:
                self._records.write(role, record)
                self._known[role] = record
