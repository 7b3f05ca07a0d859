"""Times inserts of chunks, and sample + update of 256 windows, in a replay of 2^19 rows and in cpprb, where installed.

    python benchmarks/replay.py [--capacity N] [--repeats N] [--out replay.csv]

The two take turns; the table shows medians in microseconds. Each uses one thread.
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

BATCH_SIZE, OBS_WIDTH, ACTION_WIDTH = 256, 17, 6
FILL_STREAMS, FILL_TURNS, EPISODE_STEPS = 64, 8, 1000  # of the rows that fill a replay
VECTOR = Spec(sensors=(Sensor("vector", (OBS_WIDTH,)),), continuous=ACTION_WIDTH)
IMAGE = Spec(sensors=(Sensor("camera", (84, 84, 3), "uint8"),), continuous=ACTION_WIDTH)
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
    """A replay that has wrapped around, with episodes of 1,000 steps of FILL_STREAMS agents."""
    sampler = Uniform(capacity) if uniform else Prioritized(capacity, **PRIORITY)
    replay = Replay(spec, 0, sampler, steps=steps)
    part, end = rows(spec, FILL_STREAMS, FILL_TURNS), rows(spec, FILL_STREAMS, 1, last=True)
    chunks_per_episode = EPISODE_STEPS // FILL_TURNS
    for i in range(capacity // (FILL_STREAMS * FILL_TURNS) + 2):
        replay.add(part)
        if i % chunks_per_episode == chunks_per_episode - 1:
            replay.add(end)
    return replay


def sampled(replay: Replay) -> Callable[[], None]:
    """One call samples a batch and gives errors back."""
    error = np.random.default_rng(0).random(BATCH_SIZE).astype(np.float32)

    def once() -> None:
        batch = replay.sample(BATCH_SIZE)
        replay.update(batch.index, error)

    return once


def ours(capacity: int) -> dict[str, tuple[Callable[[], None], int]]:
    """By name of what is timed: a function that does it once, and the number of rows or windows."""
    found: dict[str, tuple[Callable[[], None], int]] = {}
    one = filled(VECTOR, capacity, 1)
    for streams, turns in ((1, 1), (16, 1), (1, 64), (16, 64)):
        step = rows(VECTOR, streams, turns)
        found[f"insert {streams} x {turns}"] = (lambda step=step: one.add(step), streams * turns)
    found["sample + update, T=1"] = (sampled(one), BATCH_SIZE)
    found["sample + update, T=1, uniform"] = (sampled(filled(VECTOR, capacity, 1, uniform=True)), BATCH_SIZE)
    found["sample + update, T=40"] = (sampled(filled(VECTOR, capacity, 40)), BATCH_SIZE)
    found["sample + update, T=1, 84x84x3"] = (sampled(filled(IMAGE, min(capacity, 2**15), 1)), BATCH_SIZE)
    return found


def theirs(capacity: int) -> dict[str, tuple[Callable[[], None], int]]:
    """The same with cpprb's prioritised buffer, which stores each observation twice and has no windows."""
    if cpprb is None:
        return {}
    shapes = {
        "obs": {"shape": OBS_WIDTH},
        "act": {"shape": ACTION_WIDTH},
        "rew": {},
        "next_obs": {"shape": OBS_WIDTH},
        "done": {},
    }
    buffer = cpprb.PrioritizedReplayBuffer(capacity, shapes, alpha=PRIORITY["alpha"])

    def part(k: int) -> dict[str, np.ndarray]:
        return {name: np.zeros((k, shape.get("shape", 1)), np.float32) for name, shape in shapes.items()}

    chunk = FILL_STREAMS * FILL_TURNS
    for _ in range(capacity // chunk + 2):
        buffer.add(**part(chunk))
    error = np.random.default_rng(0).random(BATCH_SIZE)

    def once() -> None:
        batch = buffer.sample(BATCH_SIZE, beta=PRIORITY["beta"])
        buffer.update_priorities(batch["indexes"], error)

    found: dict[str, tuple[Callable[[], None], int]] = {"sample + update, T=1": (once, BATCH_SIZE)}
    for streams, turns in ((1, 1), (16, 1), (1, 64), (16, 64)):
        rows_of = part(streams * turns)
        found[f"insert {streams} x {turns}"] = (lambda r=rows_of: buffer.add(**r), streams * turns)
    return found


def microseconds(once: Callable[[], None], repeats: int) -> float:
    """Median time of a call."""
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
    print(f"capacity {options.capacity}, batch {BATCH_SIZE}" + ("" if cpprb else " (cpprb is not installed)"))
    for line in [header, *table]:
        print(f"{line[0]:32}" + "".join(f"{cell!s:>12}" for cell in line[1:]))
    with options.out.open("w", newline="") as file:
        csv.writer(file).writerows([header, *table])


if __name__ == "__main__":
    main()
