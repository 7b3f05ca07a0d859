"""Replay: inserts in chunks, and sample + update of 256, at capacity 2^19; against cpprb where it is installed.

    python benchmarks/replay.py [--capacity N] [--repeats N] [--out replay.csv]

Ours and theirs take turns; the table shows medians. One thread each.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sac.replay import Prioritized, Replay, Uniform
from sac.types import Sensor, Spec, Step

try:
    import cpprb
except ImportError:
    cpprb = None

BATCH, OBS, ACT = 256, 17, 6
VECTOR = Spec(sensors=(Sensor("vector", (OBS,)),), continuous=ACT)
IMAGE = Spec(sensors=(Sensor("camera", (84, 84, 3), "uint8"),), continuous=ACT)
PRIORITY = {"alpha": 0.6, "beta": 0.4, "beta_increment_per_sampling": 1e-4, "td_error_min": 1e-2, "td_error_max": 1.0}


def rows(spec: Spec, streams: int, turns: int, last: bool = False) -> Step:
    """`turns` steps of `streams` agents, as one chunk."""
    k = streams * turns
    return Step(
        stream=np.tile(np.arange(streams), turns),
        obs={s.name: np.zeros((k, *s.shape), s.dtype) for s in spec.sensors},
        mask=np.ones((k, spec.choices), bool),
        raw_action=np.zeros((k, spec.continuous), np.float32),
        discrete=np.zeros((k, len(spec.branches)), np.int32),
        log_prob=np.zeros((k, 2), np.float32),
        state=np.zeros((k, 0), np.float32),
        previous=np.zeros((k, 0), np.float32),
        reward=np.zeros(k, np.float32),
        discount=np.ones(k, np.float32),
        last=np.full(k, last),
    )


def filled(spec: Spec, capacity: int, steps: int, uniform: bool = False) -> Replay:
    """A replay that has wrapped: 64 agents, episodes of 1,000 steps."""
    sampler = Uniform(capacity) if uniform else Prioritized(capacity, **PRIORITY)
    replay = Replay(spec, 0, sampler, steps=steps)
    part, end = rows(spec, 64, 8), rows(spec, 64, 1, last=True)
    for i in range(capacity // 512 + 2):
        replay.add(part)
        if i % 125 == 124:
            replay.add(end)
    return replay


def sampled(replay: Replay) -> Callable[[], None]:
    error = np.random.default_rng(0).random(BATCH).astype(np.float32)

    def once() -> None:
        batch = replay.sample(BATCH)
        replay.update(batch.index, error)

    return once


def ours(capacity: int) -> dict[str, tuple[Callable[[], None], int]]:
    """What is timed -> a function that does it, and how many rows or windows that is."""
    found: dict[str, tuple[Callable[[], None], int]] = {}
    one = filled(VECTOR, capacity, 1)
    for streams, turns in ((1, 1), (16, 1), (1, 64), (16, 64)):
        step = rows(VECTOR, streams, turns)
        found[f"insert {streams} x {turns}"] = (lambda step=step: one.add(step), streams * turns)
    found["sample + update, T=1"] = (sampled(one), BATCH)
    found["sample + update, T=1, uniform"] = (sampled(filled(VECTOR, capacity, 1, uniform=True)), BATCH)
    found["sample + update, T=40"] = (sampled(filled(VECTOR, capacity, 40)), BATCH)
    found["sample + update, T=1, 84x84x3"] = (sampled(filled(IMAGE, min(capacity, 2**15), 1)), BATCH)
    return found


def theirs(capacity: int) -> dict[str, tuple[Callable[[], None], int]]:
    """The same on cpprb's prioritised buffer, which stores each observation twice and knows no windows."""
    if cpprb is None:
        return {}
    shapes = {"obs": {"shape": OBS}, "act": {"shape": ACT}, "rew": {}, "next_obs": {"shape": OBS}, "done": {}}
    buffer = cpprb.PrioritizedReplayBuffer(capacity, shapes, alpha=PRIORITY["alpha"])

    def part(k: int) -> dict[str, np.ndarray]:
        return {name: np.zeros((k, shape.get("shape", 1)), np.float32) for name, shape in shapes.items()}

    for _ in range(capacity // 512 + 2):
        buffer.add(**part(512))
    error = np.random.default_rng(0).random(BATCH)

    def once() -> None:
        batch = buffer.sample(BATCH, beta=PRIORITY["beta"])
        buffer.update_priorities(batch["indexes"], error)

    found: dict[str, tuple[Callable[[], None], int]] = {"sample + update, T=1": (once, BATCH)}
    for streams, turns in ((1, 1), (16, 1), (1, 64), (16, 64)):
        rows_of = part(streams * turns)
        found[f"insert {streams} x {turns}"] = (lambda r=rows_of: buffer.add(**r), streams * turns)
    return found


def microseconds(once: Callable[[], None], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=int, default=2**19)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("replay.csv"))
    options = parser.parse_args()

    mine, other = ours(options.capacity), theirs(options.capacity)
    times: dict[str, list[list[float]]] = {name: [[], []] for name in mine}
    for _ in range(3):
        for name, (once, _) in mine.items():
            times[name][0].append(microseconds(once, options.repeats))
            if name in other:
                times[name][1].append(microseconds(other[name][0], options.repeats))

    table = []
    for name, (own, peer) in times.items():
        ratio = f"{np.median(own) / np.median(peer):.2f}" if peer else ""
        peer_us = f"{np.median(peer):.1f}" if peer else ""
        table.append([name, mine[name][1], f"{np.median(own):.1f}", peer_us, ratio])
    header = ["what", "rows", "ours_us", "cpprb_us", "ours/cpprb"]
    print(f"capacity {options.capacity}, batch {BATCH}" + ("" if cpprb else " (cpprb is not installed)"))
    for line in [header, *table]:
        print(f"{line[0]:32}" + "".join(f"{cell!s:>12}" for cell in line[1:]))
    with options.out.open("w", newline="") as file:
        csv.writer(file).writerows([header, *table])


if __name__ == "__main__":
    main()
