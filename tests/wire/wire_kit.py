"""A replay served from a thread or a process, clients of it, rows that can be told apart, a line that breaks."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zmq

from sac.distributed.insert_client import InsertClient
from sac.distributed.replay_client import ReplayClient
from sac.distributed.replay_server import ReplayServer
from sac.replay import DurableReplay, Prioritized, RateLimiter, Replay, Uniform
from sac.replay.running_stats import RunningStats
from sac.types import Sensor, Spec, Step
from sac.wire.client import Client
from sac.wire.discovery import Fixed, Records
from sac.wire.handshake import Description, described_spec
from sac.wire.keys import Keys
from sac.wire.messages import replay_codec
from sac.wire.peer import ClientId
from sac.wire.server import Server

SPEC = Spec((Sensor("tag", (2,)), Sensor("eye", (4, 4, 1), "uint8")), continuous=2, branches=(2, 3))
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class World:
    """What both ends of a connection agree on."""

    spec: Spec = SPEC
    state: int = 0
    steps: int = 1
    burn_in: int = 0
    batch: int = 8
    calls: int = 1  # K
    rate: float = 1.0  # updates per step
    capacity: int = 1 << 16
    uniform: bool = False

    @property
    def codec(self):
        return replay_codec(self.spec, self.state, self.steps, self.burn_in, self.spec.sensors[:1])

    @property
    def description(self) -> Description:
        return Description({"n_step": self.steps, "capacity": self.capacity, **described_spec(self.spec)}, {"state": 7})

    def replay(self, folder: Path | None = None) -> Replay:
        """In memory, or in files."""
        priority = {"alpha": 0.6, "beta": 0.4, "beta_increment_per_sampling": 0.01}
        bounds = {"td_error_min": 0.01, "td_error_max": 1.0}
        sampler = Uniform(self.capacity) if self.uniform else Prioritized(self.capacity, **priority, **bounds)
        length = {"steps": self.steps, "burn_in": self.burn_in, "seed": 9}
        if folder is None:
            return Replay(self.spec, self.state, sampler, **length)
        return DurableReplay(self.spec, self.state, sampler, folder, **length)

    def limiter(self) -> RateLimiter:
        return RateLimiter(self.rate, 2 * self.batch, self.calls, 1000)


WORLD = World()


class InThread:
    """Calls `turn` in a thread until the block ends; then an exception of the thread is raised."""

    def __init__(self):
        self.failure, self._over = None, threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def turn(self) -> None: ...
    def close(self) -> None: ...

    def _serve(self) -> None:
        try:
            while not self._over.is_set():
                self.turn()
        except BaseException as error:
            self.failure = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join(10)
        self.close()
        if self.failure is not None:
            raise self.failure


class Served(InThread):
    """A replay and its server."""

    def __init__(
        self, world: World, folder: Path, directory=None, *, host="127.0.0.1", keys: Keys | None = None, **limits
    ):  # fmt: skip
        super().__init__()
        self.replay, self.limiter, self.stats = (
            world.replay(folder),
            world.limiter(),
            RunningStats(world.spec.sensors[:1]),
        )
        self.directory = directory or Records(folder / "net", host)
        self.server = Server(
            "replay", world.codec, self.directory, world.description, host=host, keys=keys,
            arrived=lambda peer: self.service.arrived(peer), left=lambda peer: self.service.left(peer),
        )  # fmt: skip
        self.service = ReplayServer(self.server, self.replay, self.limiter, self.stats, world.batch, **limits)

    def turn(self) -> None:
        self.service.turn(0.02)
        self.server.counters = {name: float(x) for name, x in self.service.metrics().items()}

    def close(self) -> None:
        self.server.close()
        self.replay.close()


class Stranger:
    """A client made of bare sockets, which can send any frames and introduce itself in any way."""

    def __init__(self, served: Served):
        self._context, self._address = zmq.Context(), served.directory.find("replay")
        self._sockets: list[zmq.Socket] = []
        self.anew()

    def anew(self) -> Stranger:
        socket = self._context.socket(zmq.DEALER)
        socket.connect(self._address)
        self._sockets.append(socket)
        return self

    def say(self, frames: list) -> Stranger:
        self._sockets[-1].send_multipart(frames)
        return self

    def hears(self, seconds: float = 10.0) -> str:
        """The kind of the next message."""
        assert self._sockets[-1].poll(1000 * seconds)
        return WORLD.codec.decode(self._sockets[-1].recv_multipart()).kind

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_) -> None:
        self._context.destroy(0)


class Process:
    """A Served in a process of its own, which ends with the block; `prefix` comes before its command."""

    def __init__(self, folder: Path, world: World = WORLD, *, host="127.0.0.1", keys: Path | None = None, prefix=()):
        words = [str(folder), host, str(keys or "-"), str(world.capacity)]
        self.directory = self.directory_of(folder, host)
        self._popen = start("serve", *words, prefix=prefix)
        assert self._popen.stdout.readline() == "ready\n"
        self.pid = self._popen.pid

    @staticmethod
    def directory_of(folder: Path, host: str = "127.0.0.1") -> Records:
        return Records(folder / "net", host)

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def alive(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait(10)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_) -> None:
        self.signal(signal.SIGCONT)
        self._popen.terminate()
        try:
            self._popen.wait(10)
        finally:
            self.kill()


def start(what: str, *words: str, prefix=()) -> subprocess.Popen:
    """Starts wire_children.py in a process of its own."""
    command = [*prefix, sys.executable, str(Path(__file__).with_name("wire_children.py")), what, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def client(directory, *, world: World = WORLD, role="actor", number=1, keys: Keys | None = None, **changes) -> Client:
    return Client("replay", world.codec, world.description, ClientId(role, number, **changes), directory, keys)


def learner(directory, world: World = WORLD, outstanding: int = 4, **options) -> ReplayClient:
    line = client(directory, world=world, role="learner", **options)
    stats = RunningStats(world.spec.sensors[:1])
    return ReplayClient(line, world.batch, world.calls, stats, outstanding, prioritized=not world.uniform)


@contextlib.contextmanager
def inserting(directory, *, world: World = WORLD, **options) -> Iterator[InsertClient]:
    line = client(directory, world=world, **options)
    try:
        yield InsertClient(line)
    finally:
        line.close()


def wait_for(what: Callable[[], object], seconds: float = 10.0, meanwhile: Callable[[], object] = lambda: None) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited too long"
        meanwhile()
        time.sleep(0.002)


def random_rows(spec: Spec, state: int, k: int, rng) -> Step:
    """Rows of three streams; some are final ones."""
    last = rng.random(k) < 0.1
    obs = {
        s.name: rng.integers(0, 256, (k, *s.shape)).astype(s.dtype)
        if s.dtype == "uint8"
        else rng.normal(size=(k, *s.shape)).astype(s.dtype)
        for s in spec.sensors
    }
    discrete = [rng.integers(0, n, k) for n in spec.branches]
    return Step(
        stream=rng.integers(0, 3, k), obs=obs, mask=np.ones((k, spec.choices), bool),
        raw_action=rng.normal(size=(k, spec.continuous)).astype(np.float32),
        discrete=np.array(discrete, np.int32).reshape(len(discrete), k).T,
        log_prob=rng.normal(size=(k, 2)).astype(np.float32) * 0.1,
        state=rng.normal(size=(k, state)).astype(np.float32),
        previous=rng.normal(size=(k, spec.action_size if state else 0)).astype(np.float32),
        reward=rng.normal(size=k).astype(np.float32), discount=np.ones(k, np.float32), last=last,
    )  # fmt: skip


def tagged(actor: int, first: int, k: int) -> Step:
    """Rows first, first + 1, ... of an actor."""
    step = random_rows(SPEC, 0, k, np.random.default_rng(first))
    tag = np.stack([np.full(k, actor), np.arange(first, first + k)], -1).astype(np.float32)
    return step._replace(obs={**step.obs, "tag": tag}, last=np.zeros(k, bool), stream=np.zeros(k, np.int64))


def tags(replay: Replay, actor: int) -> list[int]:
    """The tags of an actor's rows in the order of their arrival."""
    found = np.concatenate([step.obs["tag"] for step in replay.stored()]).astype(int)
    return found[found[:, 0] == actor, 1].tolist()


def stored_tags(folder: Path, actor: int, world: World = WORLD) -> list[int]:
    """The tags of an actor's rows in the files of a replay that has no process any more."""
    replay = world.replay(folder)
    found = tags(replay, actor)
    replay.close()
    return found


def over_tcp(directory: Records, role: str = "replay") -> str:
    """The address at which a process on another machine finds a server."""
    return directory.record(role)["address"]


class Line:
    """A TCP proxy to the address that `find` returns. It passes bytes on, drops them (`deaf`), or cuts connections."""

    def __init__(self, find: Callable[[], str]):
        self._find, self._over, self.deaf = find, threading.Event(), False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ends: dict[socket.socket, socket.socket] = {}
        self._cut = threading.Event()
        self.directory = Fixed({"replay": self._listening.getsockname(), "learner": self._listening.getsockname()})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Breaks all present connections; bytes on their way are lost."""
        self._cut.set()
        wait_for(lambda: not self._cut.is_set())

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join(10)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            while not self._over.is_set():
                if self._cut.is_set():
                    self._hang_up(selector, list(self._ends))
                    self._cut.clear()
                for key, _ in selector.select(0.005):
                    if key.fileobj is self._listening:
                        self._connect(selector)
                    elif key.fileobj in self._ends:
                        self._pass_on(selector, key.fileobj)
            self._hang_up(selector, list(self._ends))
            self._listening.close()

    def _connect(self, selector) -> None:
        near, _ = self._listening.accept()
        try:
            far = socket.create_connection(("127.0.0.1", int(self._find().rsplit(":", 1)[1])), 1)
        except OSError:
            near.close()
            return
        self._ends |= {near: far, far: near}
        for end in (near, far):
            end.settimeout(5)
            selector.register(end, selectors.EVENT_READ, None)
        self._far = far

    def _pass_on(self, selector, end: socket.socket) -> None:
        try:
            data = end.recv(1 << 16)
            if data and not (self.deaf and end is self._far):
                self._ends[end].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._hang_up(selector, [end])

    def _hang_up(self, selector, ends: list[socket.socket]) -> None:
        for end in ends:
            for one in (end, self._ends.pop(end, None)):
                if one is not None and one.fileno() >= 0:
                    selector.unregister(one)
                    self._ends.pop(one, None)
                    one.close()
