"""Processes of the tests: one serves a replay, one plays and reports on its connection, one floods the replay."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from sac.distributed.insert_client import InsertClient
from sac.errors import UserError
from sac.wire.discovery import Records
from sac.wire.keys import Keys
from tests.wire import malformed
from tests.wire.wire_kit import WORLD, Served, client, learner, tagged


def serve(folder: str, host: str, keys: str, capacity: str) -> None:
    world = replace(WORLD, capacity=int(capacity))
    served = Served(world, Path(folder), host=host, keys=None if keys == "-" else Keys(Path(keys)))
    over = ended()
    print("ready", flush=True)
    while not over.is_set():
        served.turn()
    served.close()


def ended() -> threading.Event:
    """Set by SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    return over


def say(**what) -> None:
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)


def play(role: str, folder: str, keys: str) -> None:
    """An actor or a learner until SIGTERM; the actor then waits until its rows are stored."""
    directory, keys = Records(Path(folder) / "net", ""), None if keys == "-" else Keys(Path(keys))
    over = ended()
    try:
        if role == "learner":
            _learn(learner(directory, keys=keys), over)
        else:
            _insert(client(directory, keys=keys), over)
    except UserError as error:
        say(refused=str(error))


def _insert(line, over) -> None:
    count, said = 0, Seldom()
    inserter = InsertClient(watched(line), stop=over.is_set, stored=lambda step, first: said(went=count))
    while not over.is_set():
        inserter.add(tagged(1, count, 5))
        count += 5
        time.sleep(0.005)
    say(rows=count, drained=inserter.drain(10))
    line.close()


def _learn(remote, over) -> None:
    watched(remote.client)
    said = Seldom()
    while not over.is_set():
        if remote.try_spend():
            batch = remote.sample(remote.batch_size, remote.updates_per_call)
            remote.update(batch.index, batch.reward[..., 0] ** 2)
            said(went=remote.updates)
    say(updates=remote.updates)
    remote.client.close()


def flood(address: str, count: str, per_second: str) -> None:
    malformed.flood(address, int(count), float(per_second))


class Seldom:
    """Prints a report at most every 0.05 seconds."""

    def __init__(self):
        self._said = 0.0

    def __call__(self, **what) -> None:
        if time.monotonic() - self._said > 0.05:
            self._said = time.monotonic()
            say(**what)


def watched(line):
    """The same client, which prints a report when it drops its connection."""
    drop = line._drop

    def dropped(*args, **kwargs):
        if line.connected:
            say(lost=True)
        drop(*args, **kwargs)

    line._drop = dropped
    return line


if __name__ == "__main__":
    {"serve": serve, "play": play, "flood": flood}[sys.argv[1]](*sys.argv[2:])
