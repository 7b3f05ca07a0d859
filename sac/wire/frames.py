"""Frames of one message out and in; pyzmq's own ways add up flags, build pollers and raise, which costs as much."""

from __future__ import annotations

import zmq

READABLE = int(zmq.POLLIN)
LAST, MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


def send_frames(socket: zmq.Socket, frames: list) -> None:
    """All or none, without waiting. Large frames are not copied. Raises zmq.ZMQError when the line is full or gone."""
    for frame in frames[:-1]:
        socket.send(frame, MORE, False)
    socket.send(frames[-1], LAST, False)


def readable(socket: zmq.Socket, timeout: float = 0.0) -> bool:
    """Whether a message can be read now, or after at most `timeout` seconds of waiting."""
    if socket.getsockopt(zmq.EVENTS) & READABLE:
        return True
    return timeout > 0 and bool(socket.poll(timeout * 1000))


def receive_frames(
    socket: zmq.Socket, timeout: float, copy: bool, parts: int, size: int, envelope: int = 0
) -> list | None:
    """A whole message, after at most `timeout` seconds of waiting; None when there is none.

    Of a message with more than `parts` frames or `size` bytes no frame is kept behind the first one too many: so it is
    seen to be too large, and takes no more memory here than one that is not. The first `envelope` frames do not count.
    """
    if not readable(socket, timeout):
        return None
    frames, count, total, more = [], -envelope, 0, True
    try:
        while more:
            frame = socket.recv(zmq.NOBLOCK, copy)
            more = socket.getsockopt(zmq.RCVMORE)
            if count <= parts and total <= size:
                frames.append(frame)
                count += 1
                total += len(frame) if count > 0 else 0
    except zmq.Again:  # its line was cut in between
        return None
    return frames
