"""Arrays in memory that two processes on one machine share: one writes them, the other reads them.

The memory has no name. The other process opens it through /proc and the file handle of the process that made it (Linux
only), and it is freed with the last process that has it open. Where it cannot be opened arrays are sent as frames.
"""

from __future__ import annotations

import mmap
import os
import secrets
import weakref
from dataclasses import dataclass

import numpy as np

from sac.wire.codec import Message, MessageKind

ALIGNMENT_BYTES = 64
HEAD_BYTES = 4096  # before the first slot: they hold the token, by which the other process recognises the memory
MAX_SLOTS = 64


class SharedArrays:
    """`slots`: arrays by name, each slot with all columns of a kind of message with the leading axes `lead`."""

    def __init__(self, memory: mmap.mmap, kind: MessageKind, lead: tuple[int, ...], slots: int):
        self._memory = memory
        start = HEAD_BYTES
        self.slots: list[dict[str, np.ndarray]] = []
        for _ in range(slots):
            arrays = {}
            for name, (shape, dtype) in kind.columns.items():
                full = (*lead, *shape)
                count = int(np.prod(full))
                arrays[name] = np.frombuffer(memory, dtype, count, start).reshape(full)
                start += _aligned(arrays[name].nbytes)
            self.slots.append(arrays)


PLACE = {"process": int, "handle": int, "slots": int, "token": int}


@dataclass(frozen=True)
class Place:
    """Where the memory is: a process, its file handle, the number of slots and the token in the head."""

    process: int
    handle: int
    slots: int
    token: int

    @classmethod
    def of(cls, message: Message) -> Place:
        """The place that a message names."""
        return cls(*(message[name] for name in PLACE))


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _size(kind: MessageKind, lead: tuple[int, ...], slots: int) -> int:
    return HEAD_BYTES + slots * sum(
        _aligned(int(np.prod((*lead, *shape))) * np.dtype(dtype).itemsize) for shape, dtype in kind.columns.values()
    )


def make(kind: MessageKind, lead: tuple[int, ...], slots: int) -> tuple[SharedArrays, Place] | None:
    """New memory and its place; None where the system offers none. It can be reached while the result is kept."""
    try:
        handle = os.memfd_create("arrays")  # stays open: others reach the memory through it
    except (AttributeError, OSError):  # not on this system, or forbidden
        return None
    try:
        os.ftruncate(handle, _size(kind, lead, slots))
        memory, token = mmap.mmap(handle, 0), secrets.randbits(62)
    except OSError:
        os.close(handle)
        return None
    memory[:8] = token.to_bytes(8, "little")
    arrays = SharedArrays(memory, kind, lead, slots)
    weakref.finalize(arrays, os.close, handle)
    return arrays, Place(os.getpid(), handle, slots, token)


def reach(place: Place, kind: MessageKind, lead: tuple[int, ...]) -> SharedArrays | None:
    """The memory of another process; None when it is on another machine, may not be opened, or is not the same."""
    if not 0 < place.slots <= MAX_SLOTS:
        return None
    try:
        handle = os.open(f"/proc/{place.process}/fd/{place.handle}", os.O_RDWR)
    except OSError:
        return None
    try:
        if os.fstat(handle).st_size != _size(kind, lead, place.slots):
            return None
        memory = mmap.mmap(handle, 0)
    except (OSError, ValueError):
        return None
    finally:
        os.close(handle)
    if int.from_bytes(memory[:8], "little") != place.token:
        memory.close()
        return None
    return SharedArrays(memory, kind, lead, place.slots)
