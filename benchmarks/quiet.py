"""How busy others keep this machine: a ratio taken beside a training run says nothing.

With one of two cores taken, PyTorch's OpenMP threads spin at each barrier: SB3 falls from 115 updates/s to 1.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

LIMIT = 0.25  # cores of others, above which a measurement is not compared


class Others:
    """CPU time of all other processes, in cores, since this was made; nan where the system does not tell."""

    def __init__(self):
        self._start = time.perf_counter(), busy_seconds(), time.process_time()

    def cores(self) -> float:
        then, all_then, own_then = self._start
        own, every = time.process_time() - own_then, busy_seconds() - all_then
        return max(0.0, every - own) / (time.perf_counter() - then) if not math.isnan(every) else math.nan


def busy_seconds() -> float:
    """CPU-seconds of all cores since the machine started, what a hypervisor took included."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return math.nan
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def wait(seconds: float) -> None:
    """Waits, at most so long, until others have used less than LIMIT for two seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        others = Others()
        time.sleep(2)
        if not others.cores() > LIMIT:
            return
