"""Who is at the other end."""

from __future__ import annotations

import json
import math
import secrets
import time
from dataclasses import dataclass, field
from itertools import islice

PING_SECONDS = 1.0  # seconds between two signs of life
SERVER_LOST_SECONDS = 3.5  # seconds of silence after which a client looks for its server anew
CLIENT_GONE_SECONDS = 60.0  # seconds of silence after which a server forgets a client
MAX_COUNTERS = 256  # numbers that a ping or pong tells, at most
MAX_NAME_CHARACTERS = 128  # characters of their names, at most


def new_incarnation() -> int:
    """A number that no other process has: whoever starts again has another."""
    return secrets.randbits(62)


@dataclass(frozen=True)
class ClientId:
    """How a client introduces itself: its role, its number among those of this role, and which life this is."""

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
    session: int  # which line of this life it is welcome on
    heard: float = field(default_factory=time.monotonic)
    counters: dict[str, float] = field(default_factory=dict)  # as in its latest ping

    @property
    def silent(self) -> float:
        """Seconds since it was last heard."""
        return time.monotonic() - self.heard


def counters_of(text: str) -> dict[str, float]:
    """The finite numbers by name that a ping or pong tells, so many of them; what else it says is left out."""
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
