"""F9: a malformed message is dropped; neither its sender nor other clients are disturbed."""

from __future__ import annotations

import os
import time

import pytest
import zmq

from tests.figures import figure
from tests.wire.malformed import BYTES, bad_messages, hello, raw_bytes, strange_messages
from tests.wire.wire_kit import WORLD, Process, Served, client, inserting, over_tcp, start, tagged, tags, wait_for

COUNT = int(os.environ.get("FLOOD", 5_000))  # FLOOD=100000 for all of them
RATE = 2000.0  # a second


def test_each_bad_message_is_counted_and_none_does_anything(tmp_path):
    with Served(WORLD, tmp_path) as served:
        context = zmq.Context()
        stranger = context.socket(zmq.DEALER)
        stranger.connect(served.directory.find("replay"))
        stranger.send_multipart(hello())
        bad = bad_messages()
        for i, frames in enumerate(bad):
            stranger.send_multipart(frames)
            wait_for(lambda i=i: served.server.bad == i + 1)
        for frames in strange_messages():
            stranger.send_multipart(frames)
        for i in range(len(BYTES)):
            raw_bytes(over_tcp(served.directory), i)
        line = client(served.directory)
        wait_for(lambda: "transitions" in line.theirs, meanwhile=lambda: line.pump(0.01))
        assert (served.replay.total, served.replay.acked(5), served.limiter.steps) == (0, 0, 0)
        assert served.server.bad <= len(bad) + len(strange_messages())
        line.close()
        stranger.close(0)
        context.term()


def rows_for(inserter, first: int, seconds: float, per_second: int = 2000) -> int:
    """Sends rows at a steady rate, as an environment brings them; returns the number of the next row."""
    began, count = time.monotonic(), first
    while time.monotonic() < began + seconds:
        while count - first < (time.monotonic() - began) * per_second:
            inserter.add(tagged(1, count, 10))
            count += 10
        inserter.pump(0.002)
    return count


@pytest.mark.slow
def test_a_flood_of_bad_messages_costs_a_good_peer_nothing(tmp_path, capsys):
    with Process(tmp_path) as process, inserting(process.directory) as inserter:
        seconds = COUNT / RATE
        alone = rows_for(inserter, 0, min(1.5, seconds))
        assert inserter.drain(10)
        began, waited = time.monotonic(), inserter.waited
        flood = start("flood", over_tcp(process.directory), str(COUNT), str(RATE))
        count = alone
        while flood.poll() is None:
            count = rows_for(inserter, count, 0.5)
        assert flood.wait(60) == 0
        took, waited = time.monotonic() - began, inserter.waited - waited
        assert inserter.drain(10) and process.alive()
        wait_for(lambda: inserter.client.theirs.get("bad_messages", 0) >= COUNT, 10, lambda: inserter.pump(0.01))
        bad = inserter.client.theirs["bad_messages"]
        with capsys.disabled():
            print(
                f"\nF9: {bad:.0f} bad messages in {took:.1f} s ({bad / took:.0f}/s); a good peer: "
                f"{alone / min(1.5, seconds):.0f} rows/s alone, {(count - alone) / took:.0f} meanwhile "
                f"({100 * waited / took:.1f} % of it waiting), none lost"
            )
            figure("F9", f"beside {RATE} bad messages/s a good peer waits", 100 * waited / took, "% of the time", 50)
        assert inserter.client.session == 1
    replay = WORLD.replay(tmp_path)
    assert tags(replay, 1) == list(range(max(0, count - WORLD.capacity), count)) and replay.total == count
    replay.close()
