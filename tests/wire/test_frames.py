"""Frames out and in, over a real socket."""

from __future__ import annotations

import threading
import time

import pytest
import zmq

from sac.wire.frames import readable, receive_frames, send_frames


@pytest.fixture
def line():
    context = zmq.Context()
    ends = [context.socket(zmq.PAIR) for _ in range(2)]
    port = ends[0].bind_to_random_port("tcp://127.0.0.1")
    ends[1].connect(f"tcp://127.0.0.1:{port}")
    assert all(end.poll(5000, zmq.POLLOUT) for end in ends)
    yield ends
    context.destroy(0)


@pytest.mark.parametrize("copy", [True, False])
def test_a_message_comes_whole(line, copy):
    send_frames(line[0], [b"a", b"", bytes(1 << 17)])
    got = receive_frames(line[1], 5.0, copy, 3, 1 << 18)
    assert [bytes(frame) for frame in got] == [b"a", b"", bytes(1 << 17)]
    assert receive_frames(line[1], 0.0, copy, 3, 1 << 18) is None


def test_waiting_ends_with_the_time_or_the_message(line):
    began = time.monotonic()
    assert not readable(line[1]) and time.monotonic() - began < 0.1
    assert receive_frames(line[1], 0.3, True, 3, 9) is None
    assert 0.29 < time.monotonic() - began < 5
    sender = threading.Timer(0.2, send_frames, [line[0], [b"x"]])
    began = time.monotonic()
    sender.start()
    assert receive_frames(line[1], 30.0, True, 3, 9) == [b"x"]
    assert time.monotonic() - began < 10
    sender.join()
