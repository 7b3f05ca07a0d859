"""The other end of the wire: a line to one server, kept alive through whatever happens to the server."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from sac.errors import Refused
from sac.wire.codec import LARGEST, VERSION, WHOLE, BadMessage, Codec, Message
from sac.wire.discovery import Directory
from sac.wire.frames import readable, receive_frames, send_frames
from sac.wire.handshake import Description
from sac.wire.keys import Keys
from sac.wire.peer import LOST, PING, ClientId, counters_of

log = logging.getLogger(__name__)
AGAIN = 0.5  # seconds between two hellos
COMPLAIN = 5.0, 30.0  # seconds of waiting after which it is said, first and then again
BROKEN, SUCCEEDED = zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED
REFUSED_KEYS = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
CUT_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL  # what one is by a server that has another key of its own
TRIES = 5  # handshakes that may be cut off one after the other: a server may be ending


class Client:
    """Says hello until it is welcome, pings, and begins anew when the server was silent for too long or has moved.

    Read `session`: it counts welcomes, and after each whatever was not answered has to be sent again. `ended` says
    that the run is over. To be used from one thread. `pump` raises Refused when the server refuses us.
    """

    def __init__(
        self, server: str, codec: Codec, description: Description, me: ClientId, directory: Directory,
        keys: Keys | None = None,
    ):  # fmt: skip
        self.server, self.codec, self.description, self.me = server, codec, description, me
        self.session, self.ended = 0, False
        self.counters: Mapping[str, Any] = {}  # what a ping says
        self.theirs: dict[str, Any] = {}  # what the latest pong said
        self.told: Mapping[str, Any] = {}  # what the server's description tells
        self.their_life = 0  # of the server that welcomed us last
        self.bad = 0
        self._directory, self._keys = directory, keys
        self._context = zmq.Context()
        self._socket: zmq.Socket | None = None
        self._monitor: zmq.Socket | None = None
        self._address: str | None = None
        self._given_up: str | None = None  # an address at which nobody can be reached from here
        self._reached = False
        self._identity = os.urandom(16)
        self._welcome = False
        self._line = 0  # counts lines: what was on an earlier one is lost, a welcome too
        self._heard = self._said = self._pinged = self._looked = self._kept = 0.0
        self._waiting_since: float | None = None
        self._complained = 0.0

    @property
    def connected(self) -> bool:
        """Welcome, and not silent for too long."""
        return self._welcome

    def pump(self, timeout: float = 0.0) -> list[Message]:
        """Keeps the line alive and returns what came, after at most `timeout` seconds of waiting."""
        self._keep()
        if self._socket is None:
            time.sleep(min(timeout, 0.1))
            return []
        messages: list[Message] = []
        parts = self.codec.parts
        while (frames := receive_frames(self._socket, timeout, False, parts, WHOLE)) is not None:
            timeout, message = 0.0, self._take(frames)
            if message is not None:
                messages.append(message)
        self._watch()
        return messages

    def send(self, frames: list) -> bool:
        """False when the line is down or full: nothing was sent then."""
        if not self._welcome:
            return False
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            return False
        return True

    def say(self, kind: str, **values: Any) -> bool:
        return self.send(self.codec.encode(kind, values))

    def close(self, goodbye: bool = True) -> None:
        """With a goodbye the server does not wait for us."""
        if goodbye and self._welcome:
            self.say("bye")
        self._drop(linger=200)
        self._context.term()

    # --- the line

    def _keep(self) -> None:
        now = time.monotonic()
        if now - self._kept > PING and not self._unanswered():  # it was us who were away
            self._heard = max(self._heard, now - PING)
        self._kept = now
        if self._welcome and now - self._heard > LOST:
            log.warning("the %s has not been heard for %.1f s", self.server, now - self._heard)
            self._drop()
        if now - self._looked > AGAIN and (self._socket is None or now - self._heard > 1.2 * PING):
            self._looked = now
            silent = not self._welcome and now - self._heard > LOST
            if silent and not self._reached:
                self._given_up = self._address
            address = self._directory.find(self.server)
            if address == self._given_up:
                address = self._directory.find(self.server, near=False)
            if address != self._address or silent:
                self._drop()
                self._address = address
            if self._socket is None and self._address is not None:
                self._open()
        if self._welcome:
            self._waiting_since = None
            if now - self._pinged > PING:
                self._pinged = now
                self.send(self.codec.say("ping", json.dumps(self.counters)))
        else:
            self._greet(now)

    def _unanswered(self) -> bool:
        """Whether the server has not answered what it was told before this; an answer may wait to be read."""
        return max(self._pinged, self._said) > self._heard and not (self._socket and readable(self._socket))

    def _greet(self, now: float) -> None:
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if self._socket is not None and now - self._said > AGAIN:
            self._said = now
            me = self.me
            hello = {
                "version": VERSION, "role": me.role, "uid": me.uid, "life": me.life, "number": me.number,
                "session": self._line, "hash": self.description.hash,
            }  # fmt: skip
            self._reply(self.codec.encode("hello", hello))
        if now - self._waiting_since > COMPLAIN[0] and now - self._complained > COMPLAIN[1]:
            self._complained = now
            log.warning("%s waits for the %s at %s", self.me.uid, self.server, self._address or "an unknown address")

    def _open(self) -> None:
        self._socket = self._context.socket(zmq.DEALER)
        self._monitor = self._socket.get_monitor_socket(BROKEN | SUCCEEDED | REFUSED_KEYS | CUT_OFF)
        self._socket.setsockopt(zmq.ROUTING_ID, self._identity)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        if self._keys is not None:
            self._keys.protect_client(self._socket)
        self._cut_off, self._reached = 0, False
        self._socket.connect(self._address)
        self._heard = time.monotonic()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._welcome, self._said = False, 0.0
        self._line += 1

    def _drop(self, linger: int = 0) -> None:
        self._welcome = False
        if self._socket is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._socket.close(linger)
            self._socket = None

    def _watch(self) -> None:
        """A line that broke is made anew by itself, but without what was on it: that is a new session.

        Raises Refused when the server does not let us in.
        """
        while readable(self._monitor):
            event = recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]
            if event == BROKEN:
                self._begin_anew()
            elif event == SUCCEEDED:
                self._cut_off, self._reached = 0, True
            elif self._keys or event != CUT_OFF:
                self._cut_off += 1 if event == CUT_OFF else TRIES
            if self._cut_off >= TRIES:
                ours = f"ours are in net.keys={self._keys.folder}" if self._keys else "we have none (net.keys=null)"
                raise Refused(
                    f"the {self.server} at {self._address} refuses our keys: {ours}; "
                    "all roles need copies of the same folder"
                )

    def _take(self, frames: list) -> Message | None:
        try:
            message = self.codec.decode([frame.buffer for frame in frames])
        except BadMessage as error:
            self.bad += 1
            log.warning("the %s sent what is no message: %s", self.server, error)
            return None
        self._heard = time.monotonic()
        match message.kind:
            case "welcome":
                self._be_welcome(message)
            case "refused":
                raise Refused(f"the {self.server} at {self._address} refuses {self.me.uid}: {message.text}")
            case "describe_yourself":
                self._reply(self.codec.say("describe", self.description.text()))
            case "say_hello":
                self._begin_anew()
            case "later":
                pass
            case "pong":
                self.theirs = counters_of(message.text)
            case "end":
                self.ended = True
            case _:
                return message
        return None

    def _be_welcome(self, message: Message) -> None:
        self.told, self.their_life = Description.of(message.text).told, message["life"]
        if not self._welcome:
            self._welcome = True
            self.session += 1
            log.info("welcome at the %s at %s", self.server, self._address)

    def _reply(self, frames: list) -> None:
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            log.debug("the line to the %s is full", self.server)
