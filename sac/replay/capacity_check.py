"""Checks the size of a replay against the machine before anything is allocated."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from sac.errors import UserError

GIB_BYTES = 2**30


def machine_memory() -> int | None:
    """Bytes of memory that this process may use, including a container's limit; None where that is unknown."""
    limits = []
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits += _windows_memory()
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
        except (OSError, ValueError):  # there is no control group, or its limit is the word "max"
            continue
    return min((limit for limit in limits if limit > 0), default=None)


def _windows_memory() -> list[int]:
    """[bytes] on Windows, else []."""
    if not hasattr(ctypes, "windll"):
        return []

    class MemoryStatus(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "total_page", "free_page", "total_virtual", "free_virtual", "extended")
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    found = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return [status.total] if found else []


def check_memory(needed: int, capacity: int, available: int | None = None) -> None:
    """Raises UserError when a replay of `capacity` rows has `needed` bytes and fewer are `available`.

    `available` is the machine's memory by default.
    """
    available = machine_memory() if available is None else available
    if available is not None and needed > available:
        raise UserError(
            f"replay.capacity={capacity} takes {needed / GIB_BYTES:.1f} GiB of memory, this machine has "
            f"{available / GIB_BYTES:.1f} GiB; at most {int(capacity * available / needed):,} rows would fit: "
            "set a smaller replay.capacity or smaller observations"
        )


def check_capacity(capacity: int, streams: int, steps: int, burn_in: int = 0) -> None:
    """Raises UserError when `capacity` rows cannot hold one window of every stream."""
    needed = streams * (burn_in + steps + 1)
    if capacity <= needed:
        raise UserError(
            f"replay.capacity={capacity} is too small: it must be greater than {needed} "
            f"= {streams} agents x ({burn_in} burn-in + {steps} window steps + 1 final row)"
        )
