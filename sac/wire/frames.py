"""Frames of one message out; pyzmq's own loop adds up flags for each of them, which costs as much as sending."""

from __future__ import annotations

import zmq

LAST, MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


def send_frames(socket: zmq.Socket, frames: list) -> None:
    """All or none, without waiting. Large frames are not copied. Raises zmq.ZMQError when the line is full or gone."""
    for frame in frames[:-1]:
        socket.send(frame, MORE, False)
    socket.send(frames[-1], LAST, False)
