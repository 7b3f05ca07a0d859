"""Where the roles are found: fixed addresses, or records in the run folder."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

from sac.files import write_atomically


class Directory(Protocol):
    def find(self, role: str, near: bool = True) -> str | None:
        """The address of a server, None while it is not known; with `near` the one for neighbours, if that is for us.

        Cheap: it is asked again and again.
        """

    def port(self, role: str) -> int:
        """Where the role's server shall listen; 0 = anywhere."""

    def near_name(self, role: str) -> str | None:
        """A second address where the role's server shall listen, for neighbours; None = no such thing."""

    def announce(self, role: str, port: int, near: str | None = None) -> None:
        """This process serves as `role` at its interface's `port`, and for neighbours at the address `near`."""


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
    """A small file for each server, written by rename: a server that moved is found at its new place.

    A neighbour, who has the same machine and network, is sent to a Unix socket, which moves large messages for less
    than tcp does. Its name is abstract (Linux only): there is no file to be left behind.
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

    def record(self, role: str) -> dict | None:
        """What was announced of a server."""
        try:
            return dict(json.loads((self.folder / f"{role}.json").read_text(encoding="utf8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, role: str, record: Mapping) -> None:
        """What a server has announced, this process or another one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / f"{role}.json", json.dumps(record) + "\n", flush=False)  # a start tells it anew


@cache
def _network() -> str | None:
    """What all processes share that can reach one another's abstract sockets: the boot and the network namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"
    except OSError:
        return None
