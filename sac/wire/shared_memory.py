"""Arrays that never travel: one process writes them where the other reads them, when both are on one machine.

The memory has no name: it is reached through the open file of the process that made it (Linux only), and it is gone
with the last process that has it. Where it cannot be reached arrays are sent as frames.
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
HEAD_BYTES = 4096  # bytes before the first slot: the token, by which the other end knows that it is this very memory


class SharedArrays:
    """`slots` places for the columns of a kind with the leading axes `lead`."""

    def __init__(self, memory: mmap.mmap, kind: MessageKind, lead: tuple[int, ...], slots: int):
        self._memory = memory
        start, self.slots = HEAD_BYTES, []
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
    """Where the memory is, as the other end is told."""

    process: int
    handle: int
    slots: int
    token: int

    @classmethod
    def of(cls, message: Message) -> Place:
        return cls(*(message[name] for name in PLACE))


def _aligned(n: int) -> int:
    return -(-n // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _size(kind: MessageKind, lead: tuple[int, ...], slots: int) -> int:
    return HEAD_BYTES + slots * sum(
        _aligned(int(np.prod((*lead, *shape))) * np.dtype(dtype).itemsize) for shape, dtype in kind.columns.values()
    )


def make(kind: MessageKind, lead: tuple[int, ...], slots: int) -> tuple[SharedArrays, Place] | None:
    """New memory, to be reached as long as its maker has it, and where it is; None where there is no such thing."""
    try:
        handle = os.memfd_create("arrays")  # stays open: that is its address
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
    """The memory of another process; None when it is not on this machine, not ours to open, or another."""
    if not 0 < place.slots <= 64:
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
