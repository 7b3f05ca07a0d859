"""Processes of the tests: `serve` a replay until SIGTERM; `play` rows into it and say what happens to the line."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from wire_kit import WORLD, Served, client, learner, tagged

from sac.interruption import Interruption
from sac.wire.directory import Records
from sac.wire.inserting import Inserter
from sac.wire.keys import Keys


def serve(folder: str, host: str, keys: str, capacity: str) -> None:
    world = replace(WORLD, capacity=int(capacity))
    served = Served(world, Path(folder), host=host, keys=None if keys == "-" else Keys(Path(keys)))
    with Interruption() as interruption:
        print("ready", flush=True)
        while not interruption.requested:
            served.turn()
    served.close()


def say(**what) -> None:
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)


def play(role: str, folder: str, keys: str) -> None:
    """An actor (or a learner) until SIGTERM, then its rows are brought home."""
    directory, keys = Records(Path(folder) / "net", ""), None if keys == "-" else Keys(Path(keys))
    with Interruption() as interruption:
        if role == "learner":
            _learn(learner(directory, keys=keys), interruption)
        else:
            _insert(Inserter(client(directory, keys=keys)), interruption)


def _insert(inserter: Inserter, interruption) -> None:
    count, was = 0, 0
    inserter._stop = lambda: interruption.requested

    def stored(step, first):
        nonlocal was
        if time.monotonic() - was > 0.1:
            say(went=count)
            was = time.monotonic()

    inserter._stored = stored
    watched(inserter.client)
    while not interruption.requested:
        inserter.add(tagged(1, count, 5))
        count += 5
        time.sleep(0.005)
    say(rows=count, drained=inserter.drain(10))
    inserter.client.close()


def _learn(remote, interruption) -> None:
    watched(remote.client)
    was = 0.0
    while not interruption.requested:
        if remote.take():
            batch = remote.sample(remote.batch_size, remote.updates_per_call)
            remote.update(batch.index, batch.reward[..., 0] ** 2)
            if time.monotonic() - was > 0.1:
                say(went=remote.updates)
                was = time.monotonic()
    say(updates=remote.updates)
    remote.client.close()


def watched(line) -> None:
    """Says when the line is given up."""
    drop = line._drop

    def dropped(*args, **kwargs):
        if line.connected:
            say(lost=True)
        drop(*args, **kwargs)

    line._drop = dropped


if __name__ == "__main__":
    {"serve": serve, "play": play}[sys.argv[1]](*sys.argv[2:])
