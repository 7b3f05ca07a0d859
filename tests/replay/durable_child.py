"""Chunks that follow from (source, seq) alone, and a process that inserts them until it is killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from ring_model import SPEC, STATE, Row, chunk, prioritized

from sac.replay import DurableReplay

CAPACITY, SOURCES, STEPS, BURN_IN = 300, (11, 2**62 + 5, 12), 3, 2
PER_CHUNK, PER_SOURCE = 64, 2**21  # room for tags: 2^15 chunks of each source, exact in float32


def rows(source: int, seq: int) -> list[Row]:
    """A chunk of 2 streams (the same two numbers for every source), 1 to 60 rows, whole episodes or open ones."""
    rng = np.random.default_rng([source, seq])
    tag = SOURCES.index(source) * PER_SOURCE + seq * PER_CHUNK
    found = []
    for _ in range(int(rng.integers(1, 31))):
        stream, what = int(rng.integers(2)), rng.choice(["act", "end", "time"], p=[0.8, 0.1, 0.1])
        found.append(Row(stream, tag + len(found), discount=0.0 if what == "end" else 1.0))
        if what != "act":
            found.append(Row(stream, tag + len(found), final=True, discount=found[-1].discount))
    return found


def named(source: int, seq: int) -> list[Row]:
    """The same rows with streams that no two sources share: what the model takes."""
    return [Row(10 * SOURCES.index(source) + r.stream, r.tag, r.final, r.discount) for r in rows(source, seq)]


def opened(folder: Path, capacity: int = CAPACITY, steps: int = STEPS, burn_in: int = BURN_IN) -> DurableReplay:
    return DurableReplay(SPEC, STATE, prioritized(capacity), folder, steps=steps, burn_in=burn_in)


def insert_for_ever(folder: Path, seed: int, newest: list[int]) -> None:
    """`newest` chunk that each source, which outlives the replay, has sent before."""
    replay, rng = opened(folder), np.random.default_rng(seed)
    seqs = dict(zip(SOURCES, newest))
    while max(seqs.values()) < 2**15 - 1:
        source = SOURCES[rng.integers(len(SOURCES))]
        seqs[source] += 1
        replay.add_from(source, seqs[source], chunk(rows(source, seqs[source])))
        os.write(1, f"{source} {seqs[source]}\n".encode())  # the acknowledgement
        if replay.ready and rng.random() < 0.3:
            batch = replay.sample(4, 2)
            replay.update(batch.index, rng.random(batch.index.shape))


if __name__ == "__main__":
    insert_for_ever(Path(sys.argv[1]), int(sys.argv[2]), [int(seq) for seq in sys.argv[3:]])
