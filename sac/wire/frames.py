"""Sends and receives the frames of one message. pyzmq's own multipart calls take as long as everything else here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zmq

Frames = list[bytes | memoryview]
READABLE = int(zmq.POLLIN)
LAST, MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


def send_frames(socket: zmq.Socket[bytes], frames: Sequence[bytes | memoryview]) -> None:
    """Sends all frames or none, without waiting; large frames are not copied.

    Raises zmq.Again when the socket's buffer is full, another zmq.ZMQError when nobody is at the other end.
    """
    for frame in frames[:-1]:
        socket.send(frame, MORE, False)
    socket.send(frames[-1], LAST, False)


def readable(socket: zmq.Socket[bytes], timeout: float = 0.0) -> bool:
    """Whether a message can be read now, or after at most `timeout` seconds of waiting."""
    if int(socket.getsockopt(zmq.EVENTS)) & READABLE:
        return True
    return timeout > 0 and bool(socket.poll(round(timeout * 1000)))


def receive_frames(
    socket: zmq.Socket[bytes], timeout: float, copy: bool, max_frames: int, max_bytes: int, envelope: int = 0
) -> Frames | None:
    """A whole message, after at most `timeout` seconds of waiting; None when there is none.

    A message with more than `max_frames` frames or `max_bytes` bytes is returned only up to the first frame too many,
    and the rest is dropped. So the reader sees that it is too large, and it takes little memory. The first `envelope`
    frames do not count. Without `copy` frames are views of ZeroMQ's own memory.
    """
    if not readable(socket, timeout):
        return None
    frames: Frames = []
    count, total, more = -envelope, 0, True
    try:
        while more:
            frame: Any = socket.recv(zmq.NOBLOCK, copy)
            more = bool(socket.getsockopt(zmq.RCVMORE))
            if count <= max_frames and total <= max_bytes:
                frames.append(frame if copy else frame.buffer)
                count += 1
                total += len(frame) if count > 0 else 0
    except zmq.Again:  # the connection broke between two frames
        return None
    return frames
