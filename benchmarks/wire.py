"""The wire: rows in, batches out and weights, between two processes of one machine over tcp.

    python benchmarks/wire.py [--seconds 2] [--repeats 3]

* insert: steps/s of one actor that the replay acknowledges after it has committed them to its files (steps of 17
  floats and 6 actions), in chunks of 1, 32 and 256.
* sample: batches/s of 256 windows of one step, uniform, updates' errors going back, with the learner doing nothing
  else: one batch under way (lock-step) or four, as frames or through shared memory; 17 floats or 84x84x3 pictures.
* weights: milliseconds from one question to the last of 4 actors' answers (every one asks, all in one process).

`floor`: what the same machine did with bare pyzmq frames and no replay behind them, when the roles were designed; the
sample floors drew nothing. CPU-ms are those of client and server together, for one message. Medians. Writes wire.csv
and wire.md into docs/results.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import quiet
from benchmarks.replay import IMAGE, VECTOR, rows
from benchmarks.report import RESULTS, ROOT, show, stamp, versions, write_csv, write_markdown
from sac.moments import Moments
from sac.replay import DurableReplay, Free, Uniform
from sac.types import Spec
from sac.wire import inserting
from sac.wire.client import Client
from sac.wire.description import Description
from sac.wire.directory import Records
from sac.wire.inserting import Inserter
from sac.wire.kinds import learner_codec, replay_codec
from sac.wire.peer import Me
from sac.wire.policy_service import PolicyService
from sac.wire.remote_replay import RemoteReplay
from sac.wire.replay_service import ReplayService
from sac.wire.server import Server

BATCH = 256
CAPACITY = {"vector": 1 << 19, "image": 1 << 13}
SPECS = {"vector": VECTOR, "image": IMAGE}
SAME = Description({}, {})
FLOORS = {
    "insert, chunk 1": "8000", "insert, chunk 32": "288000", "insert, chunk 256": "1760000",
    "sample 17 floats, lock-step": "2200", "sample 17 floats, 4 under way": "2200-4900",
    "sample 17 floats, 4 under way, shared memory": "10000-15000", "sample 84x84x3, lock-step": "83",
    "sample 84x84x3, 4 under way": "200-228", "sample 84x84x3, 4 under way, shared memory": "950-1120",
    "weights, 0.3 MB": "1.4", "weights, 6.8 MB": "4.5",
}  # fmt: skip


def codec(name: str):
    return replay_codec(SPECS[name], 0, 1, 0)


# --- the servers, each in a process of its own


def serve_replay(folder: Path, name: str) -> None:
    spec: Spec = SPECS[name]
    replay = DurableReplay(spec, 0, Uniform(CAPACITY[name]), folder, steps=1)
    for _ in range(8):
        replay.add(rows(spec, 64, 16))
    server = Server("replay", codec(name), Records(folder, "127.0.0.1"), SAME)
    limiter = Free(1.0, 1)
    limiter.steps = 1
    service = ReplayService(server, replay, limiter, Moments(), BATCH)
    server._arrived, server._left = service.arrived, service.left
    print("ready", flush=True)
    while os.getppid() != 1:
        service.turn(0.1)


def weights_columns(megabytes: float) -> dict:
    return {f"layer{i}": ((int(megabytes * 1e6 / 4 / 12),), "float32") for i in range(12)}


def serve_weights(folder: Path, megabytes: str) -> None:
    columns = weights_columns(float(megabytes))
    server = Server("learner", learner_codec(VECTOR, 0, 1, columns), Records(folder, "127.0.0.1"), SAME)
    service = PolicyService(server, lambda arrays: None)
    service.publish({name: np.zeros(shape, np.float32) for name, (shape, _) in columns.items()}, 0)
    service.begin()
    print("ready", flush=True)
    while os.getppid() != 1:
        time.sleep(0.1)


@contextmanager
def served(*words: str) -> Iterator[tuple[Records, int]]:
    """Where the server is found, and its process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--serve", words[0], folder, *words[1:]]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the server of {words} did not start")
            yield Records(Path(folder), ""), process.pid
        finally:
            process.kill()
            process.wait(30)


# --- what is measured: a function to be called again and again, and the server's process


Measured = Iterator[tuple[Callable[[], None], int]]


@contextmanager
def inserted(chunk: int) -> Measured:
    """One call is a chunk."""
    with served("replay", "vector") as (directory, process):
        line = Client("replay", codec("vector"), SAME, Me("actor"), directory)
        inserter, step = Inserter(line), rows(VECTOR, 1, chunk)
        inserting.ROWS = chunk
        yield lambda: inserter.add(step), process
        line.close()


@contextmanager
def sampled(name: str, outstanding: int, shared: bool) -> Measured:
    """One call is a batch and its errors."""
    with served("replay", name) as (directory, process):
        line = Client("replay", codec(name), SAME, Me("learner"), directory)
        remote = RemoteReplay(line, BATCH, 1, Moments(), outstanding)
        if not shared:
            remote._place = None
        error = np.ones((1, BATCH), np.float32)

        def once() -> None:
            while not remote.take():  # it ends a turn every other time
                pass
            remote.update(remote.sample(BATCH, 1).index, error)

        yield once, process
        assert (remote._in_use >= 0) == shared
        line.close()


@contextmanager
def fetched(megabytes: float) -> Measured:
    """One call is the weights for four actors."""
    with served("weights", str(megabytes)) as (directory, process):
        codec = learner_codec(VECTOR, 0, 1, weights_columns(megabytes))
        lines = [Client("learner", codec, SAME, Me("actor", n), directory) for n in range(1, 5)]
        while not all(line.connected for line in lines):
            for line in lines:
                line.pump(0.01)

        def once() -> None:
            for line in lines:
                line.say("weights?", have=0)
            for line in lines:
                while not any(message.kind == "weights" for message in line.pump(0.05)):
                    pass

        yield once, process
        for line in lines:
            line.close()


CASES = {
    **{f"insert, chunk {n}": (lambda n=n: inserted(n)) for n in (1, 32, 256)},
    "sample 17 floats, lock-step": lambda: sampled("vector", 1, False),
    "sample 17 floats, 4 under way": lambda: sampled("vector", 4, False),
    "sample 17 floats, lock-step, shared memory": lambda: sampled("vector", 1, True),
    "sample 17 floats, 4 under way, shared memory": lambda: sampled("vector", 4, True),
    "sample 84x84x3, lock-step": lambda: sampled("image", 1, False),
    "sample 84x84x3, 4 under way": lambda: sampled("image", 4, False),
    "sample 84x84x3, 4 under way, shared memory": lambda: sampled("image", 4, True),
    "weights, 0.3 MB": lambda: fetched(0.3),
    "weights, 6.8 MB": lambda: fetched(6.8),
}


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(make: Callable[[], Measured], seconds: float) -> dict[str, float]:
    """Calls a second, CPU-ms of a call, and the cores that others had meanwhile."""
    with make() as (once, process):
        for _ in range(20):
            once()
        others, calls = quiet.Others(), 0
        own, servers, began = time.process_time(), cpu_seconds(process), time.perf_counter()
        while time.perf_counter() - began < seconds:
            once()
            calls += 1
        took = time.perf_counter() - began
        own, servers = time.process_time() - own, cpu_seconds(process) - servers
        disturbed = max(0.0, others.cores() - servers / took)
        return {"rate": calls / took, "cpu_ms": 1e3 * (own + servers) / calls, "others": disturbed}


def row(name: str, runs: list[dict[str, float]]) -> list:
    rate, cpu, others = (median(run[key] for run in runs) for key in ("rate", "cpu_ms", "others"))
    what = name.split(",")[0]
    if what == "insert":
        value, unit = rate * int(name.rsplit(" ", 1)[1]), "steps/s"
    else:
        value, unit = (1e3 / rate, "ms") if what == "weights" else (rate, "batches/s")
    return [name, value, unit, FLOORS.get(name, ""), cpu, others]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--only", default="", help="cases whose name contains this; nothing is written then")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        what, folder, which = options.serve
        {"replay": serve_replay, "weights": serve_weights}[what](Path(folder), which)
        return
    cases = {name: make for name, make in CASES.items() if options.only in name}
    found: dict[str, list] = {name: [] for name in cases}
    for _ in range(options.repeats):
        for name, make in cases.items():
            quiet.wait(options.patience)
            found[name].append(measure(make, options.seconds))
            print(row(name, found[name]), file=sys.stderr, flush=True)
    table = [["what", "here", "unit", "floor", "CPU-ms", "others"], *(row(name, runs) for name, runs in found.items())]
    show(table)
    if options.only:
        return
    note = f"`others`: cores that other processes used meanwhile; above {quiet.LIMIT} the rates are too low."
    write_csv(options.out / "wire.csv", table)
    write_markdown(options.out / "wire.md", "The wire", [
        __doc__.split("\n\n", 2)[2], table, note, stamp(versions("pyzmq", "msgpack", "numpy"))
    ])  # fmt: skip


if __name__ == "__main__":
    main()
