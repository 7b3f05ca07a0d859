"""The Ray actors of a cell: one for each of its processes, and the address book by which these find each other.

The Ray actor of an evolver exchanges addresses with the address books of all cells of its population. The processes do
not load Ray: their Ray actors pass addresses on by small files in a private folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.exceptions import RayError

from launchers.jobs.job import Job
from launchers.ray_cluster.replica import Replica
from sac.config.schema import EVOLVER
from sac.wire.discovery import Records

EXCHANGE_INTERVAL_SECONDS = 0.5  # between two exchanges of a replica with the address book
ADDRESSES = "addresses"  # name of the address book in the namespace of its cell
SERVERS_OF = {"learner": ("replay", EVOLVER), "actor": ("replay", "learner")}  # the servers that a role connects to
SERVERS = ("replay", "learner", EVOLVER)
AddressRecord = Mapping[str, Any]  # what a server writes into its record, see sac.wire.discovery


class AddressBook:
    """The addresses of the servers that a cell needs. When its node is lost, the replicas fill a new one."""

    def __init__(self) -> None:
        self._addresses: dict[str, AddressRecord] = {}

    def exchange(self, mine: Mapping[str, AddressRecord]) -> dict[str, AddressRecord]:
        """Adds the record of a replica's server, and returns the records of all: role -> record."""
        self._addresses |= mine
        return self._addresses


@dataclass(frozen=True)
class Network:
    """How the processes of a cell reach each other: with `keys` at their nodes' addresses, else on one node only."""

    keys: Mapping[str, str] | None  # file name -> text

    def settle(self, job: Job, private: Path) -> Records:
        """Makes the job's process listen at this node, and read keys and addresses in the folder `private`."""
        net, keys = job.config.net, private / "keys"
        net.directory, net.records, net.evolver_records = "ray", str(private / "addresses"), None
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


class CellReplica(Replica):
    """The Ray actor of a process that uses the address books in the namespaces `spaces`.

    A process of a cell uses the book of its cell, an evolver those of all cells that have not ended.
    """

    def __init__(self, folder: str, spaces: Sequence[str], network: Network):
        super().__init__(folder)
        self.restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self._books, self._network = [], network
        for space in spaces:
            with suppress(ValueError):  # the cell has ended, and its address book with it
                self._books.append(ray.get_actor(ADDRESSES, space))

    @contextmanager
    def surrounded(self, job: Job) -> Iterator[Callable[[], None]]:
        """Makes the job's process one of its cell, and exchanges addresses while it runs."""
        with TemporaryDirectory(prefix="sac-") as private:
            records = self._network.settle(job, Path(private))
            relays = [Relay(book, job.config.role, records) for book in self._books]

            def exchange() -> None:
                for relay in relays:
                    relay.exchange()

            yield exchange


class Relay:
    """Exchanges addresses between the records of this replica's process and the address book."""

    def __init__(self, book: Any, role: str, records: Records):
        self._book, self._role, self._records = book, role, records
        self._known: dict[str, AddressRecord] = {}
        self._answer: Any = None  # of the exchange that is under way
        self._next_exchange = 0.0

    def exchange(self) -> None:
        """Starts an exchange or takes its answer, and never waits; asks again when the address book was lost."""
        if self._answer is None and time.monotonic() >= self._next_exchange:
            self._next_exchange = time.monotonic() + EXCHANGE_INTERVAL_SECONDS
            mine = self._records.record(self._role) if self._role in SERVERS else None
            self._answer = self._book.exchange.remote({self._role: mine} if mine else {})
        elif self._answer is not None and ray.wait([self._answer], timeout=0)[0]:
            answer, self._answer = self._answer, None
            try:
                self._write_new(ray.get(answer))
            except RayError:
                return

    def _write_new(self, records: Mapping[str, AddressRecord]) -> None:
        for role in SERVERS_OF.get(self._role, ()):
            if role in records and self._known.get(role) != records[role]:
                self._records.write(role, records[role])
                self._known[role] = records[role]
