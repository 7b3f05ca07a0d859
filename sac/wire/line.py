"""One socket of a client to one address, and what is known of the connection over it."""

from __future__ import annotations

import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from sac.wire.codec import MAX_FRAME_BYTES
from sac.wire.frames import Frames, readable, receive_frames, send_frames
from sac.wire.keys import Keys

BROKEN, SUCCEEDED = zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED
CUT_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL  # also the event when the server has another key than ours
REFUSED_KEYS = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
MAX_CUT_OFF_HANDSHAKES = 5  # in a row, before keys are taken to be the reason: a server that ends cuts some off too
RECONNECT_MILLISECONDS, MAX_RECONNECT_MILLISECONDS = 50, 500


class Line:
    """Opens a socket to `address`. When its connection breaks ZeroMQ makes another, on the same socket.

    All times are those of `time.monotonic`, in seconds.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, identity: bytes, keys: Keys | None):
        self.address = address
        self.welcome = False  # whether the server has welcomed the present connection
        self.reached = False  # whether a handshake has ever succeeded
        self.heard_at = time.monotonic()  # when the last message came; at first, when the socket was opened
        self.greeted_at = 0.0  # when the last hello of the present connection was sent
        self.pinged_at = 0.0
        self._encrypted, self._failed_handshakes = keys is not None, 0
        self._socket = context.socket(zmq.DEALER)
        self._monitor = self._socket.get_monitor_socket(BROKEN | SUCCEEDED | REFUSED_KEYS | CUT_OFF)
        self._socket.setsockopt(zmq.ROUTING_ID, identity)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MILLISECONDS)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, MAX_RECONNECT_MILLISECONDS)
        try:
            if keys is not None:
                keys.protect_client(self._socket)
            self._socket.connect(address)
        except BaseException:
            self.close()
            raise

    @property
    def keys_refused(self) -> bool:
        """Whether so many handshakes have failed that our keys, or that we have none, must be the reason."""
        return self._failed_handshakes >= MAX_CUT_OFF_HANDSHAKES

    @property
    def unanswered(self) -> bool:
        """Whether something was sent since the last message came, and no message waits to be read."""
        return max(self.pinged_at, self.greeted_at) > self.heard_at and not readable(self._socket)

    def send(self, frames: Frames) -> bool:
        """False when the socket's buffer is full: nothing was sent then."""
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            return False
        return True

    def receive(self, timeout: float, max_frames: int, max_bytes: int) -> Frames | None:
        """The next message, after at most `timeout` seconds of waiting; None when there is none."""
        return receive_frames(self._socket, timeout, False, max_frames, max_bytes)

    def greet_anew(self) -> None:
        """Forgets the welcome: the next connection has to be welcomed too."""
        self.welcome, self.greeted_at = False, 0.0

    def connection_broke(self) -> bool:
        """Whether the connection broke since the last call. What was on its way over it is lost."""
        broke = False
        while readable(self._monitor) and not self.keys_refused:
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event == BROKEN:
                broke = True
            elif event == SUCCEEDED:
                self._failed_handshakes, self.reached = 0, True
            elif event != CUT_OFF:
                self._failed_handshakes += MAX_CUT_OFF_HANDSHAKES
            elif self._encrypted:
                self._failed_handshakes += 1
        return broke

    def close(self, linger_milliseconds: int = 0) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(linger_milliseconds)
