"""The client's end of the wire: finds one server, is welcomed by it, and keeps the connection alive."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import zmq

from sac.errors import Refused
from sac.wire.codec import MAX_MESSAGE_BYTES, VERSION, BadMessage, Codec, Message
from sac.wire.discovery import Directory
from sac.wire.frames import Frames
from sac.wire.handshake import Description
from sac.wire.keys import Keys
from sac.wire.line import Line
from sac.wire.peer import PING_SECONDS, SERVER_LOST_SECONDS, ClientId, counters_of

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5  # between two hellos, and between two questions for the server's address
WARN_AFTER_SECONDS, WARN_AGAIN_SECONDS = 5.0, 30.0  # of waiting for a welcome
NO_LINE_SLEEP_SECONDS = 0.1  # that `pump` sleeps at most while no address is known
GOODBYE_MILLISECONDS = 200  # that the last message has to leave a socket that is closed


class Client:
    """Says hello until it is welcome, pings, and connects anew when the server is silent for too long or has moved.

    Read `session`: it counts welcomes, and after each whatever was not answered has to be sent again. `ended` says
    that the run is over. To be used from one thread. `pump` raises Refused when the server refuses this client.
    """

    def __init__(
        self, server: str, codec: Codec, description: Description, me: ClientId, directory: Directory,
        keys: Keys | None = None,
    ):  # fmt: skip
        self.server, self.codec, self.description, self.me = server, codec, description, me
        self.session, self.ended = 0, False
        self.counters: Mapping[str, Any] = {}  # what each ping tells the server
        self.theirs: dict[str, float] = {}  # what the latest pong told
        self.told: Mapping[str, Any] = {}  # what the server's description tells
        self.server_incarnation = 0  # of the server that sent the latest welcome
        self.bad = 0  # messages that could not be decoded
        self._directory, self._keys = directory, keys
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._identity = os.urandom(16)
        self._line: Line | None = None
        self._connections = 0  # so far; each has to be welcomed anew, also where it is made on the same socket
        self._unreachable: str | None = None  # a neighbour's address at which no connection came about
        self._pumped_at = self._looked_up_at = self._warned_at = 0.0
        self._waiting_since: float | None = None  # since when there is no welcome

    @property
    def connected(self) -> bool:
        """Whether the server has welcomed this client and has not been silent for too long since."""
        return self._line is not None and self._line.welcome

    @property
    def address(self) -> str | None:
        """Of the server, as it is known at present."""
        return None if self._line is None else self._line.address

    def pump(self, timeout: float = 0.0) -> list[Message]:
        """Keeps the connection alive; returns what came, after at most `timeout` seconds of waiting."""
        now = time.monotonic()
        self._excuse_own_absence(now)
        self._drop_lost_server(now)
        self._look_up_address(now)
        self._greet(now)
        self._ping(now)
        self._warn_of_waiting(now)
        if self._line is None:
            time.sleep(min(timeout, NO_LINE_SLEEP_SECONDS))
            return []
        messages = self._receive(self._line, timeout)
        self._watch(self._line)
        return messages

    def send(self, frames: Frames) -> bool:
        """False when the connection is down or its buffer full: nothing was sent then."""
        return self._line is not None and self._line.welcome and self._line.send(frames)

    def say(self, kind: str, **values: Any) -> bool:
        """Sends a message without columns; False as `send`."""
        return self.send(self.codec.encode(kind, values))

    def close(self, goodbye: bool = True) -> None:
        """Ends the connection. After a goodbye the server does not wait for this client to come back."""
        if goodbye and self.connected:
            self.say("bye")
        self._drop(GOODBYE_MILLISECONDS)
        self._context.term()

    # --- the concerns of `pump`, one method each

    def _excuse_own_absence(self, now: float) -> None:
        """When `pump` was not called for long, and no question is open, the silence is not the server's fault."""
        if self._line is not None and now - self._pumped_at > PING_SECONDS and not self._line.unanswered:
            self._line.heard_at = max(self._line.heard_at, now - PING_SECONDS)
        self._pumped_at = now

    def _drop_lost_server(self, now: float) -> None:
        if self._line is not None and self._line.welcome and now - self._line.heard_at > SERVER_LOST_SECONDS:
            log.warning("the %s has not been heard for %.1f s", self.server, now - self._line.heard_at)
            self._drop()

    def _look_up_address(self, now: float) -> None:
        """Asks the directory while the server is unknown or silent, and connects anew when it has moved or is lost.

        A neighbour's address at which no handshake succeeded in time is given up for the one that others use.
        """
        line = self._line
        silence = float("inf") if line is None else now - line.heard_at
        if now - self._looked_up_at <= RETRY_SECONDS or silence <= 1.2 * PING_SECONDS:
            return
        self._looked_up_at = now
        lost = line is None or (not line.welcome and silence > SERVER_LOST_SECONDS)
        if line is not None and lost and not line.reached:
            self._unreachable = line.address
        address = self._directory.find(self.server)
        if address == self._unreachable:
            address = self._directory.find(self.server, near=False)
        if address != self.address or lost:
            self._drop()
            if address is not None:
                self._line = Line(self._context, address, self._identity, self._keys)
                self._connections += 1

    def _greet(self, now: float) -> None:
        """Says hello until there is a welcome."""
        line = self._line
        if line is None or line.welcome or now - line.greeted_at <= RETRY_SECONDS:
            return
        line.greeted_at = now
        hello = {
            "version": VERSION, "role": self.me.role, "uid": self.me.uid, "life": self.me.incarnation,
            "number": self.me.number, "session": self._connections, "hash": self.description.hash,
        }  # fmt: skip
        self._reply(line, self.codec.encode("hello", hello))

    def _ping(self, now: float) -> None:
        if self._line is not None and self._line.welcome and now - self._line.pinged_at > PING_SECONDS:
            self._line.pinged_at = now
            self._line.send(self.codec.say("ping", json.dumps(self.counters)))

    def _warn_of_waiting(self, now: float) -> None:
        if self.connected:
            self._waiting_since = None
            return
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if now - self._waiting_since > WARN_AFTER_SECONDS and now - self._warned_at > WARN_AGAIN_SECONDS:
            self._warned_at = now
            log.warning("%s waits for the %s at %s", self.me.uid, self.server, self.address or "an unknown address")

    def _receive(self, line: Line, timeout: float) -> list[Message]:
        """Everything that has come, without what concerns the connection alone."""
        messages: list[Message] = []
        while (frames := line.receive(timeout, self.codec.max_frames, MAX_MESSAGE_BYTES)) is not None:
            timeout, message = 0.0, self._take(line, frames)
            if message is not None:
                messages.append(message)
        return messages

    def _watch(self, line: Line) -> None:
        """After a break ZeroMQ connects anew, but what was on its way is lost: that is a new session.

        Raises Refused when the server does not accept our keys.
        """
        if line.connection_broke():
            self._begin_anew()
        if line.keys_refused:
            ours = f"ours are in net.keys={self._keys.folder}" if self._keys else "we have none (net.keys=null)"
            raise Refused(
                f"the {self.server} at {line.address} refuses our keys: {ours}; "
                "all roles need copies of the same folder"
            )

    # --- messages of the connection

    def _take(self, line: Line, frames: Frames) -> Message | None:
        """The message, unless it concerns the connection. Raises Refused when the server refuses this client."""
        try:
            message = self.codec.decode(frames)
        except BadMessage as error:
            self.bad += 1
            log.warning("the %s sent what is no message: %s", self.server, error)
            return None
        line.heard_at = time.monotonic()
        match message.kind:
            case "welcome":
                self._be_welcome(line, message)
            case "refused":
                raise Refused(f"the {self.server} at {line.address} refuses {self.me.uid}: {message.text}")
            case "describe_yourself":
                self._reply(line, self.codec.say("describe", self.description.text()))
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

    def _be_welcome(self, line: Line, message: Message) -> None:
        self.told, self.server_incarnation = Description.of(message.text).told, message["life"]
        if not line.welcome:
            line.welcome = True
            self.session += 1
            log.info("welcome at the %s at %s", self.server, line.address)

    def _begin_anew(self) -> None:
        """The present connection counts as another one, which has to be welcomed."""
        if self._line is not None:
            self._line.greet_anew()
            self._connections += 1

    def _drop(self, linger_milliseconds: int = 0) -> None:
        if self._line is not None:
            self._line.close(linger_milliseconds)
            self._line = None

    def _reply(self, line: Line, frames: Frames) -> None:
        if not line.send(frames):
            log.debug("the line to the %s is full", self.server)
