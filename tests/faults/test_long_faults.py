"""F17: a long time of random kills. SAC_F17_MINUTES=60 python -m pytest -m nightly tests/faults/test_long_faults.py"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults.cells import RunningCell
from tests.figures import figure

SHARED = Path("/dev/shm")
MINUTES = float(os.environ.get("SAC_F17_MINUTES", "60"))
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(MINUTES * 60 + 600),
]


def held(pid: int) -> tuple[float, int, int]:
    """MiB in memory that no file stands behind, descriptors and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return int(status["RssAnon"].split()[0]) / 1024, descriptors, int(status["Threads"])


def test_random_kills_for_a_long_time(tmp_path):
    """Every 20 to 40 s one of the roles is killed; the replay and the parent are watched, which live longest."""
    dice, shared = random.Random(17), set(SHARED.iterdir())
    cell = RunningCell(tmp_path.resolve())
    samples: list[tuple[float, float, int, int]] = []
    kills = {"learner": 0, "actor-1": 0, "actor-2": 0}
    try:
        cell.works()
        began = time.monotonic()
        while (minutes := (time.monotonic() - began) / 60) < MINUTES:
            role = dice.choice(list(kills))
            kills[role] += 1
            cell.kill(role)
            time.sleep(dice.uniform(20, 40))
            if minutes > 1:
                samples.append((minutes, *held(cell.pid("replay"))))
            if kills["learner"] >= 4:  # a fifth in so short a time would rightly end the cell
                kills.pop("learner")
        cell.moves()
        now = np.array(samples)
        slope = np.polyfit(now[:, 0], now[:, 1], 1)[0]
        figure("F17", f"memory of the replay over {MINUTES:g} minutes grows by", float(slope), "MiB/min", 1.0)
        figure("F17", "descriptors of the replay, most minus fewest", float(np.ptp(now[:, 2])), "", 8)
        figure("F17", "threads of the replay, most minus fewest", float(np.ptp(now[:, 3])), "", 2)
        figure("F17", "files left in /dev/shm", len(set(SHARED.iterdir()) - shared), "", 0)
    finally:
        cell.process.terminate()
        cell.wait(60)
    assert cell.processes() == []
