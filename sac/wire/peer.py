"""Clients as they introduce themselves, and as their server knows them."""

from __future__ import annotations

import json
import math
import secrets
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")
PING_SECONDS = 1.0  # between two pings
SERVER_LOST_SECONDS = 3.5  # of silence, after which a client connects to its server anew
CLIENT_GONE_SECONDS = 60.0  # of silence, after which a server forgets a client
MAX_COUNTERS = 256  # that are read of one ping or pong
MAX_NAME_CHARACTERS = 128  # of a counter's name


def new_incarnation() -> int:
    """A random number that tells one start of a process apart from all others."""
    return secrets.randbits(62)


@dataclass(frozen=True)
class ClientId:
    """How a client introduces itself: its role, its number among clients of this role, and the start of its process."""

    role: str
    number: int = 1
    incarnation: int = field(default_factory=new_incarnation)

    @property
    def uid(self) -> str:
        return f"{self.role}-{self.number}"


@dataclass
class Peer:
    """A client as its server sees it."""

    identity: bytes
    role: str
    uid: str
    incarnation: int
    number: int
    session: int  # which connection of this incarnation was welcomed
    heard: float = field(default_factory=time.monotonic)  # when its last message came
    counters: dict[str, float] = field(default_factory=dict)  # of its latest ping

    @property
    def silent(self) -> float:
        """Seconds since its last message."""
        return time.monotonic() - self.heard


def counters_of(text: str) -> dict[str, float]:
    """The finite numbers by name of a ping or pong, at most MAX_COUNTERS; everything else is left out."""
    try:
        found = json.loads(text or "{}", parse_int=float)
    except (ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    usable = (
        (name, value)
        for name, value in pairs
        if isinstance(value, float) and math.isfinite(value) and len(name) <= MAX_NAME_CHARACTERS
    )
    return dict(islice(usable, MAX_COUNTERS))


def keep_newest(kept: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Adds an entry; of more than `most` the oldest are deleted."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
