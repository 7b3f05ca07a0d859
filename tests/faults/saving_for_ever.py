"""Saves checkpoints without end: `python saving_for_ever.py <folder>`. Step i is an array of i; the memory is large."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


class Part:
    """An array of one value, and the value."""

    def __init__(self, size: int, value: float = 0.0):
        self.array, self.value = np.full(size, value), value

    def state(self):
        return {"array": self.array}, {"value": self.value}

    def restore(self, arrays, scalars) -> None:
        self.array, self.value = arrays["array"], scalars["value"]


def parts(value: float = 0.0, memory: int = 1_000_000) -> dict[str, Part]:
    return {"agent": Part(1000, value), "replay": Part(memory, value)}


def main(folder: Path) -> None:
    from sac.runs.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder)
    step = checkpoints.all()[-1].step if checkpoints.all() else 0
    while True:
        step += 1
        checkpoints.save(parts(float(step)), step, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
