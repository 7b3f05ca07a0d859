"""Who is at the other end."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

PING = 1.0  # seconds between two signs of life
LOST = 3.5  # seconds of silence after which a client looks for its server anew
GONE = 60.0  # seconds of silence after which a server forgets a client


def new_life() -> int:
    """A number that no other process has: whoever starts again has another."""
    return secrets.randbits(62)


@dataclass(frozen=True)
class Me:
    """How a client introduces itself: its role, its number among those of this role, and which life this is."""

    role: str
    number: int = 1
    life: int = field(default_factory=new_life)

    @property
    def uid(self) -> str:
        return f"{self.role}-{self.number}"


@dataclass
class Peer:
    """A client as its server sees it."""

    identity: bytes
    role: str
    uid: str
    life: int
    number: int
    heard: float = field(default_factory=time.monotonic)
    counters: dict[str, Any] = field(default_factory=dict)  # as in its latest ping

    @property
    def silent(self) -> float:
        """Seconds since it was last heard."""
        return time.monotonic() - self.heard


def counters_of(text: str) -> dict[str, Any]:
    """What a ping or pong says; nothing where it is no map of names to plain values."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    plain = isinstance(found, dict) and all(isinstance(v, str | int | float | bool | None) for v in found.values())
    return found if plain else {}
