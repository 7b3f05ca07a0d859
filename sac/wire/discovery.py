"""Where the roles are found: fixed addresses, or records in the run folder."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from sac.files import write_atomically


class Directory(Protocol):
    def find(self, role: str, near: bool = True) -> str | None:
        """The address of a server, None while it is unknown; with `near` the one for neighbours, if this is one.

        A call takes little time: clients ask again and again.
        """

    def port(self, role: str) -> int:
        """The port at which the role's server listens; 0: any free port."""

    def near_name(self, role: str) -> str | None:
        """A second address at which the role's server listens for neighbours; None: there is none."""

    def announce(self, role: str, port: int, near: str | None = None) -> None:
        """Makes known that this process serves as `role` at `port`, and for neighbours at the address `near`."""


class Fixed:
    """Hosts and ports from the config."""

    def __init__(self, addresses: Mapping[str, tuple[str, int]]):
        self._addresses = addresses

    def find(self, role: str, near: bool = True) -> str | None:
        host, port = self._addresses[role]
        return f"tcp://{host}:{port}"

    def port(self, role: str) -> int:
        return self._addresses[role][1]

    def near_name(self, role: str) -> None:
        return None

    def announce(self, role: str, port: int, near: str | None = None) -> None:
        pass


class Records:
    """A small JSON file for each server, replaced by a rename: a server that moved is found at its new address.

    A neighbour is a process on the same machine and in the same network namespace. It gets the address of a Unix
    socket, which moves large messages faster than TCP. The socket's name is abstract (Linux only), so that no file is
    left behind.
    """

    def __init__(self, folder: Path, host: str):
        self.folder, self._host = folder, host

    def find(self, role: str, near: bool = True) -> str | None:
        record = self.record(role) or {}
        ours = near and _network() is not None and record.get("network") == _network()
        return (record.get("near") if ours else None) or record.get("address")

    def port(self, role: str) -> int:
        return 0

    def near_name(self, role: str) -> str | None:
        return f"ipc://@sac-{role}-{os.getpid()}-{secrets.token_hex(4)}" if _network() else None

    def announce(self, role: str, port: int, near: str | None = None) -> None:
        self.write(role, {"address": f"tcp://{self._host}:{port}", "near": near, "network": _network()})

    def record(self, role: str) -> dict[str, Any] | None:
        """The record of a server; None where there is none, or it cannot be read."""
        try:
            return dict(json.loads((self.folder / f"{role}.json").read_text(encoding="utf8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, role: str, record: Mapping[str, Any]) -> None:
        """Writes the record of a server, which may be another process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.folder / f"{role}.json", json.dumps(record) + "\n", flush=False
        )  # may be lost: each start writes it anew


@cache
def _network() -> str | None:
    """Names the boot and the network namespace: processes that share both reach one another's abstract sockets."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"
    except OSError:
        return None
