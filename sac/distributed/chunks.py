"""The actors' chunks of rows, as the replay's service receives them."""

from __future__ import annotations

import numpy as np

from sac.types import Step
from sac.wire.codec import Message
from sac.wire.peer import Peer


def gathered(requests: list[tuple[Peer, Message]], rows: int) -> list[tuple[Peer, list[Message]]]:
    """Each request in a list of its own, but neighbouring chunks of one actor together, up to so many rows.

    Each call of the replay has a fixed cost, so small chunks are joined.
    """
    lists: list[tuple[Peer, list[Message]]] = []
    room = -1  # rows that still fit into the last list
    for peer, message in requests:
        joins = message.kind == "insert" and message["r"] > 0
        needed = message["r"] if joins else room + 1
        if needed <= room and peer is lists[-1][0]:
            lists[-1][1].append(message)
            room -= needed
        else:
            lists.append((peer, [message]))
            room = rows - needed if joins else -1
    return lists


def check_finite(step: Step) -> None:
    """Raises ValueError for a number that is not finite: it would make the networks' weights useless."""
    for name, x in step.columns().items():
        if x.size and x.dtype.kind == "f" and not np.logical_and.reduce(np.isfinite(x), axis=None):
            raise ValueError(f"{name} is not finite")
