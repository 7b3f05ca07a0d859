"""The wire: rows in, batches out and weights, between two processes of one machine.

    python benchmarks/wire.py [--seconds 2] [--repeats 3] [--tcp]

* insert: steps/s of one actor that the replay acknowledges after it has committed them to its files (steps of 17
  floats and 6 actions), in chunks of 1, 32 and 256.
* sample: batches/s of 256 windows of one step, with the learner doing nothing else: one batch under way (lock-step),
  four as a learner has it, or eight, as frames or through shared memory; observations of 17 floats or 84x84x3 pictures.
  Sampling is uniform, except for `prioritized`, where the TD errors of each batch are sent back. `4 a call`: with
  sac.updates_per_call=4, so that four batches go with each question.
* weights: milliseconds from one question until all 4 actors can read the answer (every one asks, all in one process),
  for a version that was fetched before; through shared memory, as frames with --tcp.

`hollow`: measured in turn with it, the same code with a replay that stores and draws nothing: the wire alone.
Ours and `bare` use the Unix socket that both ends find on one machine, with --tcp what two machines have. `floor`:
the rates of a prototype, measured over tcp on another machine, with one value for all of shared memory. Its file ring
stored only 205,000 steps/s, so its rates for chunks of 32 and 256 were measured without it. Its sample of 256 x 17
floats has 17 KB; here a sample is a whole batch for an update (8 columns, 49 KB).
`bare`: two frames of as many bytes there and
back by pyzmq alone, nothing checked. CPU-ms are those of client and server together, for one message. Medians. Writes
wire.csv and wire.md (with --tcp wire-tcp) into docs/results.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import zmq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import quiet
from benchmarks.replay import IMAGE, VECTOR, rows
from benchmarks.report import RESULTS, ROOT, show, stamp, versions, write_csv, write_markdown
from sac.distributed import insert_client
from sac.distributed.insert_client import InsertClient
from sac.distributed.policy_client import PolicyClient
from sac.distributed.policy_server import PolicyServer
from sac.distributed.replay_client import ReplayClient
from sac.distributed.replay_server import ACTOR_WINDOW_CHUNKS, ReplayServer
from sac.replay import DurableReplay, Prioritized, Uniform, UnlimitedRate
from sac.replay.running_stats import RunningStats
from sac.types import Batch, Spec, Step
from sac.wire.client import Client
from sac.wire.discovery import Records
from sac.wire.handshake import Description
from sac.wire.messages import learner_codec, replay_codec
from sac.wire.peer import ClientId
from sac.wire.server import Server

BATCH_WINDOWS = 256
CAPACITY_ROWS = {"vector": 1 << 19, "image": 1 << 13}
SPECS = {"vector": VECTOR, "image": IMAGE}
SAMPLERS = {
    "uniform": Uniform,
    "prioritized": partial(
        Prioritized, alpha=0.9, beta=0.4, beta_increment_per_sampling=1e-3, td_error_min=0.01, td_error_max=1.0
    ),
}
SAME = Description({}, {})
directory_class: type[Records] = Records  # how clients find the servers


def codec(name: str):
    return replay_codec(SPECS[name], 0, 1, 0)


class Far(Records):
    """Finds servers as a process on another machine does: by TCP."""

    def find(self, role: str, near: bool = True) -> str | None:
        return super().find(role, near=False)


# --- the servers, each in a process of its own


class Hollow:
    """Stands in for a replay: drops the rows that it gets, and returns the same batch at each call."""

    ready, transitions = True, 1

    def __init__(self, replay: DurableReplay, per_call: int):
        self._batch = replay.sample(BATCH_WINDOWS, per_call)
        self._arrays = self._batch.columns()
        self._acked = 0

    def add_from(self, source: int, seq: int, step: Step) -> int:
        self._acked = seq
        return 0

    def acked(self, source: int) -> int:
        return self._acked

    def close_source(self, source: int) -> int:
        return 0

    def draw(self, batch_size: int, batches: int) -> tuple[np.ndarray, np.ndarray]:
        once = self._batch.index, self._batch.weight
        together = batches // len(self._batch.index), *self._batch.index.shape
        return tuple(np.broadcast_to(x, together).reshape(batches, batch_size) for x in once)

    def windows(self, index: np.ndarray, weight: np.ndarray, out: Mapping | None = None) -> Batch:
        for name, array in (out or {}).items():
            np.copyto(array, self._arrays[name])
        return self._batch

    def update(self, index: np.ndarray, td_error: np.ndarray) -> None: ...


def serve_replay(folder: Path, which: str) -> None:
    name, per_call, sampler, *hollow = which.split()
    spec: Spec = SPECS[name]
    replay = DurableReplay(spec, 0, SAMPLERS[sampler](CAPACITY_ROWS[name]), folder, steps=1)
    for _ in range(8):
        replay.add(rows(spec, 64, 16))
    replay = Hollow(replay, int(per_call)) if hollow else replay
    server = Server("replay", codec(name), Records(folder, "127.0.0.1"), SAME)
    limiter = UnlimitedRate(1.0, 1, int(per_call))
    limiter.steps = 1
    service = ReplayServer(server, replay, limiter, RunningStats(), BATCH_WINDOWS)
    server.arrived, server.left = service.arrived, service.left
    print("ready", flush=True)
    while os.getppid() != 1:
        service.turn(0.1)


def weights_columns(megabytes: float) -> dict:
    return {f"layer{i}": ((int(megabytes * 1e6 / 4 / 12),), "float32") for i in range(12)}


def serve_weights(folder: Path, megabytes: str) -> None:
    columns = weights_columns(float(megabytes))
    server = Server("learner", learner_codec(VECTOR, 0, 1, columns), Records(folder, "127.0.0.1"), SAME)
    service = PolicyServer(server, lambda arrays: None)
    service.publish({name: np.zeros(shape, np.float32) for name, (shape, _) in columns.items()}, 0)
    service.begin()
    print("ready", flush=True)
    while os.getppid() != 1:
        time.sleep(0.1)


def serve_bare(folder: Path, size: str) -> None:
    """Answers each message with `size` bytes."""
    socket, answer = zmq.Context().socket(zmq.ROUTER), bytes(int(size))
    records = Records(folder, "127.0.0.1")
    near = records.near_name("bare")
    if near is not None:
        socket.bind(near)
    records.announce("bare", socket.bind_to_random_port("tcp://127.0.0.1"), near)
    print("ready", flush=True)
    while os.getppid() != 1:
        if socket.poll(1000):
            identity, *_ = socket.recv_multipart(copy=False)
            socket.send_multipart([identity, b"", answer], copy=False)


@contextmanager
def served(*words: str) -> Iterator[tuple[Records, int]]:
    """Starts a server; where it is found, and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--serve", words[0], folder, *words[1:]]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        try:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the server of {words} did not start")
            yield directory_class(Path(folder), ""), process.pid
        finally:
            process.kill()
            process.wait(30)


# --- what is measured: a function to be called again and again, and the server's process


Measured = Iterator[tuple[Callable[[], None], int]]


HOLLOW = " hollow"


@contextmanager
def inserted(chunk: int, behind: str = "") -> Measured:
    """Measures the sending of chunks: each call sends one."""
    with served("replay", "vector 1 uniform" + behind) as (directory, process):
        line = Client("replay", codec("vector"), SAME, ClientId("actor"), directory)
        inserter, step = InsertClient(line), rows(VECTOR, 1, chunk)
        insert_client.MAX_CHUNK_ROWS = chunk
        yield lambda: inserter.add(step), process
        line.close()


@contextmanager
def sampled(name: str, outstanding: int, shared: bool, per_call: int, sampler: str, behind: str = "") -> Measured:
    """Measures the sampling of batches: each call takes `per_call` of them."""
    with served("replay", f"{name} {per_call} {sampler}{behind}") as (directory, process):
        line = Client("replay", codec(name), SAME, ClientId("learner"), directory)
        errors_back = sampler == "prioritized"
        remote = ReplayClient(line, BATCH_WINDOWS, per_call, RunningStats(), outstanding, prioritized=errors_back)
        if not shared:
            remote._place = None
        error = np.ones((per_call, BATCH_WINDOWS), np.float32)

        def once() -> None:
            while not remote.try_spend():
                pass
            remote.update(remote.sample(BATCH_WINDOWS, per_call).index, error)

        yield once, process
        assert (remote._in_use >= 0) == shared
        line.close()


@contextmanager
def fetched(megabytes: float) -> Measured:
    """Measures the fetching of weights: each call brings them to four actors."""
    with served("weights", str(megabytes)) as (directory, process):
        codec = learner_codec(VECTOR, 0, 1, weights_columns(megabytes))
        lines = [Client("learner", codec, SAME, ClientId("actor", n), directory) for n in range(1, 5)]
        while not all(line.connected for line in lines):
            for line in lines:
                line.pump(0.01)

        policies = [PolicyClient(line) for line in lines]

        def once() -> None:
            for line in lines:
                line.say("weights?", have=0, near=directory_class is Records)
            for policy in policies:
                while not (came := policy.client.pump(0.05)):
                    pass
                for array in policy._arrays(came[0]).values():
                    array[::1024].sum()  # reads each page of memory

        yield once, process
        for line in lines:
            line.close()


@contextmanager
def bare(there: int, back: int, under_way: int = 1, lines: int = 1) -> Measured:
    """Measures pyzmq alone: each call sends `there` bytes and reads the answer, on each of `lines` sockets."""
    with served("bare", str(back)) as (directory, process):
        context = zmq.Context()
        sockets = [context.socket(zmq.DEALER) for _ in range(lines)]
        message = [b"", bytes(there)]
        for socket in sockets:
            socket.connect(directory.find("bare"))
            for _ in range(under_way - 1):
                socket.send_multipart(message)

        def once() -> None:
            for socket in sockets:
                socket.send_multipart(message, copy=False)
            for socket in sockets:
                socket.recv_multipart(copy=False)

        yield once, process
        context.destroy(0)


def batch_bytes(name: str) -> int:
    return codec(name).kinds["batch"].bytes(1, BATCH_WINDOWS)


ERROR_BYTES = 12 * BATCH_WINDOWS
SHORT_MESSAGE_BYTES = 40  # of a message without columns


@dataclass(frozen=True)
class Case:
    """What is measured: ours, the same with nothing behind, the same bytes by pyzmq alone."""

    unit: str
    per_call: int  # of what is counted
    floor: str  # what was measured when the roles were designed
    ours: Callable[[], Measured]
    hollow: Callable[[], Measured] | None
    bare: Callable[[], Measured]


def insert_case(chunk: int, floor: str) -> Case:
    size = codec("vector").kinds["insert"].bytes(chunk)
    bytes_alone = partial(bare, size, SHORT_MESSAGE_BYTES, ACTOR_WINDOW_CHUNKS)
    return Case("steps/s", chunk, floor, partial(inserted, chunk), partial(inserted, chunk, HOLLOW), bytes_alone)


def sample_case(
    name: str, under_way: int, shared: bool, floor: str, per_call: int = 1, sampler: str = "uniform"
) -> Case:
    ours = partial(sampled, name, under_way, shared, per_call, sampler)
    there = per_call * ERROR_BYTES if sampler == "prioritized" else SHORT_MESSAGE_BYTES
    bytes_alone = partial(bare, there, SHORT_MESSAGE_BYTES if shared else per_call * batch_bytes(name), under_way)
    return Case("batches/s", per_call, floor, ours, partial(ours, HOLLOW), bytes_alone)


def weights_case(megabytes: float, floor: str) -> Case:
    return Case(
        "ms",
        1,
        floor,
        partial(fetched, megabytes),
        None,
        partial(bare, SHORT_MESSAGE_BYTES, int(megabytes * 1e6), 1, 4),
    )


CASES = {
    "insert, chunk 1": insert_case(1, "8000"),
    "insert, chunk 32": insert_case(32, "288000"),
    "insert, chunk 256": insert_case(256, "1760000"),
    "sample 17 floats, lock-step": sample_case("vector", 1, False, "2200"),
    "sample 17 floats, 4 under way": sample_case("vector", 4, False, "2200-4900"),
    "sample 17 floats, 4 under way, shared memory": sample_case("vector", 4, True, "10000-15000"),
    "sample 17 floats, 8 under way, shared memory": sample_case("vector", 8, True, "10000-15000"),
    "sample 17 floats, 4 under way, shared memory, 4 a call": sample_case("vector", 4, True, "10000-15000", 4),
    "sample 17 floats, 4 under way, shared memory, prioritized": sample_case(
        "vector", 4, True, "", sampler="prioritized"
    ),
    "sample 17 floats, 4 under way, shared memory, 4 a call, prioritized": sample_case(
        "vector", 4, True, "", 4, "prioritized"
    ),
    "sample 84x84x3, lock-step": sample_case("image", 1, False, ""),
    "sample 84x84x3, 4 under way": sample_case("image", 4, False, "200-228"),
    "sample 84x84x3, 4 under way, shared memory": sample_case("image", 4, True, "950-1120"),
    "sample 84x84x3, 8 under way, shared memory": sample_case("image", 8, True, "950-1120"),
    "weights, 0.3 MB": weights_case(0.3, "1.4"),
    "weights, 6.8 MB": weights_case(6.8, "4.5"),
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


def row(name: str, case: Case, runs: list[list[dict[str, float]]]) -> list:
    """A line of the table from the runs of ours, hollow and bare."""

    def middle(which: int, key: str) -> float:
        return median(run[key] for run in runs[which]) if runs[which] else float("nan")

    calls = [middle(i, "rate") for i in range(3)]
    ours, hollow, bare_rate = [1e3 / rate if case.unit == "ms" else rate * case.per_call for rate in calls]
    cpu = [middle(i, "cpu_ms") for i in (0, 2)]
    ratio, others = calls[0] / calls[2], middle(0, "others")
    return [name, case.unit, ours, hollow if runs[1] else "", case.floor, bare_rate, ratio, *cpu, others]


HEADER = ["what", "unit", "ours", "hollow", "floor", "bare", "speed of ours / bare", "CPU-ms", "bare CPU-ms", "others"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patience", type=float, default=20.0, help="seconds to wait for a quiet machine each time")
    parser.add_argument("--tcp", action="store_true", help="as between two machines; writes wire-tcp.csv and .md")
    parser.add_argument("--only", default="", help="cases whose name contains this; nothing is written then")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        what, folder, which = options.serve
        {"replay": serve_replay, "weights": serve_weights, "bare": serve_bare}[what](Path(folder), which)
        return
    global directory_class
    directory_class, name = (Far, "wire-tcp") if options.tcp else (Records, "wire")
    cases = {what: case for what, case in CASES.items() if options.only in what}
    if options.tcp:
        cases = {what: case for what, case in cases.items() if "shared memory" not in what}
    found: dict[str, list[list]] = {what: [[], [], []] for what in cases}
    for _ in range(options.repeats):
        for what, case in cases.items():
            for make, runs in zip((case.ours, case.hollow, case.bare), found[what]):
                if make is not None:
                    quiet.wait(options.patience)
                    runs.append(measure(make, options.seconds))
            print(row(what, case, found[what]), file=sys.stderr, flush=True)
    table = [HEADER, *(row(what, cases[what], runs) for what, runs in found.items())]
    show(table)
    if options.only:
        return
    note = f"`others`: cores that other processes used meanwhile; above {quiet.LIMIT} the rates are too low."
    write_csv(options.out / f"{name}.csv", table)
    write_markdown(options.out / f"{name}.md", "The wire" + " over tcp" * options.tcp, [
        __doc__.split("\n\n", 2)[2], table, note, stamp(versions("pyzmq", "msgpack", "numpy"))
    ])  # fmt: skip


if __name__ == "__main__":
    main()
