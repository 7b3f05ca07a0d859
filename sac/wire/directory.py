"""Where the roles are found: fixed addresses, or records in the run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Directory(Protocol):
    def find(self, role: str) -> str | None:
        """`tcp://host:port` of a server, None while it is not known. Cheap: it is asked again and again."""

    def port(self, role: str) -> int:
        """Where the role's server shall listen; 0 = anywhere."""

    def announce(self, role: str, port: int) -> None:
        """This process serves as `role` at its interface's `port`."""


class Fixed:
    """Hosts and ports from the config."""

    def __init__(self, addresses: Mapping[str, tuple[str, int]]):
        self._addresses = addresses

    def find(self, role: str) -> str | None:
        host, port = self._addresses[role]
        return f"tcp://{host}:{port}"

    def port(self, role: str) -> int:
        return self._addresses[role][1]

    def announce(self, role: str, port: int) -> None:
        pass


class Records:
    """A small file for each server, written by rename: a server that moved is found at its new place."""

    def __init__(self, folder: Path, host: str):
        self.folder, self._host = folder, host

    def find(self, role: str) -> str | None:
        try:
            return json.loads((self.folder / f"{role}.json").read_text(encoding="utf8"))["address"]
        except (OSError, ValueError, KeyError):
            return None

    def port(self, role: str) -> int:
        return 0

    def announce(self, role: str, port: int) -> None:
        self.write(role, f"tcp://{self._host}:{port}")

    def write(self, role: str, address: str) -> None:
        """`role` is served at `address`, by this process or another one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{role}.{os.getpid()}"
        record = {"address": address, "process": os.getpid()}
        temporary.write_text(json.dumps(record) + "\n", encoding="utf8")
        temporary.replace(self.folder / f"{role}.json")
