"""Where the roles are found: fixed addresses, or records in the run folder."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Protocol


class Directory(Protocol):
    def find(self, role: str) -> str | None:
        """The address of a server, None while it is not known. Cheap: it is asked again and again."""

    def port(self, role: str) -> int:
        """Where the role's server shall listen; 0 = anywhere."""

    def local(self, role: str) -> str | None:
        """A second address where the role's server shall listen, for who is on its machine; None = no such thing."""

    def announce(self, role: str, port: int, local: str | None = None) -> None:
        """This process serves as `role` at its interface's `port`, and at the address `local`."""


class Fixed:
    """Hosts and ports from the config."""

    def __init__(self, addresses: Mapping[str, tuple[str, int]]):
        self._addresses = addresses

    def find(self, role: str) -> str | None:
        host, port = self._addresses[role]
        return f"tcp://{host}:{port}"

    def port(self, role: str) -> int:
        return self._addresses[role][1]

    def local(self, role: str) -> None:
        return None

    def announce(self, role: str, port: int, local: str | None = None) -> None:
        pass


class Records:
    """A small file for each server, written by rename: a server that moved is found at its new place.

    Who is on the server's machine is sent to a Unix socket, which moves bytes for less than tcp does. Its name is
    abstract (Linux only): there is no file to be left behind.
    """

    def __init__(self, folder: Path, host: str):
        self.folder, self._host = folder, host

    def find(self, role: str) -> str | None:
        record = self.record(role) or {}
        near = record.get("local") if record.get("machine") == _machine() else None
        return near or record.get("address")

    def port(self, role: str) -> int:
        return 0

    def local(self, role: str) -> str | None:
        return f"ipc://@sac-{role}-{os.getpid()}-{secrets.token_hex(4)}" if _machine() else None

    def announce(self, role: str, port: int, local: str | None = None) -> None:
        where = {"address": f"tcp://{self._host}:{port}", "local": local, "machine": _machine()}
        self.write(role, where | {"process": os.getpid()})

    def record(self, role: str) -> dict | None:
        """What was announced of a server."""
        try:
            return dict(json.loads((self.folder / f"{role}.json").read_text(encoding="utf8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, role: str, record: Mapping) -> None:
        """What a server has announced, this process or another one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{role}.{os.getpid()}"
        temporary.write_text(json.dumps(record) + "\n", encoding="utf8")
        temporary.replace(self.folder / f"{role}.json")


@cache
def _machine() -> str | None:
    """What all processes share that can reach one another's abstract sockets: the boot and the network namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"
    except OSError:
        return None
