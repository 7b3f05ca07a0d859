"""The server's end of the wire: one socket to which many clients talk. It welcomes them and notices who has left."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import zmq

from sac.errors import UserError
from sac.wire.codec import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, VERSION, BadMessage, Codec, Message
from sac.wire.discovery import Directory
from sac.wire.frames import Frames, receive_frames, send_frames
from sac.wire.handshake import Description
from sac.wire.keys import Keys, check_bind
from sac.wire.peer import CLIENT_GONE_SECONDS, Peer, counters_of, keep_newest, new_incarnation

log = logging.getLogger(__name__)
MAX_MESSAGES_PER_TURN = 256  # that `receive` returns
SILENCE_CHECK_SECONDS = 1.0  # between two looks for clients that are silent
GOODBYE_MILLISECONDS = 500  # that the last messages have to leave a socket that is closed
MAX_LOGGED_BAD_MESSAGES, LOG_EVERY_BAD_MESSAGES = 5, 1000  # the first few are logged, then one of so many
MAX_LOGGED_CHARACTERS = 1000  # of the words about a bad message
MAX_DIFFERENCES = 8  # that a refused client is told
# Any client may say anything at any rate; what the server keeps of it is bounded.
MAX_PEERS = 4096  # clients that may be connected at once
MAX_PENDING_DESCRIPTIONS = (
    1024  # hellos that await a description: the newest are kept, the other clients say hello again
)
MAX_REPLACED_INCARNATIONS = 4096  # clients that another has replaced: the newest are kept
MAX_CLIENT_NUMBER = 10_000  # the largest number that tells clients of one role apart


class Server:
    """Welcomes clients that agree with `description`, and hands on what they ask for.

    `arrived(peer)` is called at each welcome, `left(peer)` when a client said goodbye, was silent for
    CLIENT_GONE_SECONDS or was replaced by another with the same name. A server without a description waits for a
    learner to send one, and calls `described(description)`. `places` bounds the number of clients of a role; others are
    told to come later. Pings are answered with `counters`. To be used from one thread. Raises UserError when it cannot
    listen.
    """

    def __init__(
        self, role: str, codec: Codec, directory: Directory, description: Description | None, *,
        host: str = "127.0.0.1", keys: Keys | None = None,
        arrived: Callable[[Peer], None] = lambda peer: None, left: Callable[[Peer], None] = lambda peer: None,
        described: Callable[[Description], None] = lambda description: None,
        places: Mapping[str, int] | None = None,
    ):  # fmt: skip
        check_bind(host, keys)
        self.role, self.codec, self.description, self.incarnation = role, codec, description, new_incarnation()
        self.peers: dict[bytes, Peer] = {}  # the welcome clients by the identity of their socket
        self.counters: Mapping[str, Any] = {}  # what each pong tells
        self.bad = 0  # messages that were dropped or refused
        self.arrived, self.left, self._described = arrived, left, described
        self._places = places or {}
        self._pending: dict[bytes, Message] = {}  # hellos of clients that were asked for their description
        self._replaced: dict[int, None] = {}  # incarnations that were replaced; let in, both would replace each other
        self._checked_silence_at = time.monotonic()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, GOODBYE_MILLISECONDS)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a client that connects anew keeps its identity
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._authenticator = None
        port = directory.port(role)
        try:
            if keys is not None:
                self._authenticator = keys.protect_server(self._socket)
            self._socket.bind(f"tcp://{host}:{port or '*'}")
        except UserError:  # the keys cannot be read
            self.close()
            raise
        except zmq.ZMQError as error:
            self.close()
            raise UserError(
                f"the {role} cannot listen at {host}:{port}: {error}; choose another net.{role}_port or net.bind"
            ) from error
        endpoint: Any = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        self.port = int(endpoint.rsplit(b":", 1)[1])
        directory.announce(role, self.port, self._listen_near(directory.near_name(role)))

    def receive(self, timeout: float) -> list[tuple[Peer, Message]]:
        """The clients' requests, after at most `timeout` seconds of waiting; messages of the connection are handled."""
        requests: list[tuple[Peer, Message]] = []
        for _ in range(MAX_MESSAGES_PER_TURN):
            # Frames are copied: most are small, and for these a copy costs less than a view.
            frames = receive_frames(self._socket, timeout, True, self.codec.max_frames, MAX_MESSAGE_BYTES, envelope=1)
            if frames is None:
                break
            timeout, request = 0.0, self._take(bytes(frames[0]), frames[1:])
            if request is not None:
                requests.append(request)
        self._forget_silent()
        return requests

    def send(self, peer: Peer, frames: Frames) -> None:
        """Sends to a client without waiting; the message is lost when the client has gone or does not read."""
        self._send(peer.identity, frames)

    def say(self, peer: Peer, kind: str, **values: Any) -> None:
        """Sends a message without columns."""
        self.send(peer, self.codec.encode(kind, values))

    def complain(self, what: str) -> None:
        """Counts a message that was dropped or refused, and logs some of them."""
        self.bad += 1
        if self.bad <= MAX_LOGGED_BAD_MESSAGES or self.bad % LOG_EVERY_BAD_MESSAGES == 0:
            log.warning("bad message %d: %s", self.bad, what[:MAX_LOGGED_CHARACTERS])

    def end(self) -> None:
        """Tells every client that the run is over."""
        for peer in self.peers.values():
            self.say(peer, "end")

    def close(self) -> None:
        self._socket.close()
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()

    def _listen_near(self, address: str | None) -> str | None:
        """Listens at a second address, for neighbours; returns it, or None where that fails: TCP is enough."""
        try:
            if address is not None:
                self._socket.bind(address)
            return address
        except zmq.ZMQError as error:
            log.info("the %s does not listen at %s: %s", self.role, address, error)
            return None

    # --- messages of the connection

    def _take(self, identity: bytes, frames: Frames) -> tuple[Peer, Message] | None:
        """A welcome client's request; None for a message that concerns the connection or is not understood."""
        peer = self.peers.get(identity)
        try:
            message = self.codec.decode(frames)
        except BadMessage as error:
            self.complain(str(error))
            if peer is not None:
                peer.heard = time.monotonic()
            return None
        if message.kind == "hello":
            self._hello(identity, message)
        elif message.kind == "describe":
            self._description(identity, message)
        elif peer is None:
            self._reply(identity, "say_hello")
        else:
            peer.heard = time.monotonic()
            if message.kind == "ping":
                peer.counters = counters_of(message.text)
                self._reply(identity, "pong", json.dumps(self.counters))
            elif message.kind == "bye":
                self._forget(peer)
            else:
                return peer, message
        return None

    def _hello(self, identity: bytes, hello: Message) -> None:
        """Refuses the client, puts it off, asks for its description, or welcomes it."""
        if hello["life"] <= 0:
            self._refuse(identity, f"life {hello['life']}: it counts from 1")
        elif not 0 <= hello["number"] <= MAX_CLIENT_NUMBER:
            self._refuse(identity, f"number {hello['number']}: allowed is 0 to {MAX_CLIENT_NUMBER}")
        elif hello["version"] != VERSION:
            self._refuse(identity, f"protocol version {hello['version']}, the {self.role} speaks version {VERSION}")
        elif hello["life"] in self._replaced:
            self._refuse(
                identity,
                f"another {hello['uid']} has come since and took its place: end one of the two "
                "(actors differ in net.number; a replay has one learner)",
            )
        elif (self.description is None and hello["role"] != "learner") or self._full(identity, hello):
            self._reply(identity, "later")
        elif self.description is None or hello["hash"] != self.description.hash:
            keep_newest(self._pending, identity, hello, MAX_PENDING_DESCRIPTIONS)
            self._reply(identity, "describe_yourself")
        else:
            self._welcome(identity, hello)

    def _full(self, identity: bytes, hello: Message) -> bool:
        """Whether there is no place for this client at present."""
        if len(self.peers) >= MAX_PEERS and identity not in self.peers:
            return True
        others = [p for p in self.peers.values() if p.role == hello["role"] and p.uid != hello["uid"]]
        return len(others) >= self._places.get(hello["role"], len(others) + 1)

    def _description(self, identity: bytes, message: Message) -> None:
        """Welcomes a client whose description agrees with ours, or becomes ours; refuses others."""
        hello = self._pending.pop(identity, None)
        if hello is None:
            return
        try:
            theirs = Description.of(message.text)
            if self.description is None:
                self._described(theirs)
                self.description = theirs
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._refuse(identity, f"its description does not fit: {error}")
            return
        differences = theirs.differences(self.description)
        if differences:
            self._refuse(
                identity,
                f"{hello['uid']} ({theirs.hash}) and the {self.role} ({self.description.hash}) differ in "
                f"{'; '.join(differences[:MAX_DIFFERENCES])}" + " ..." * (len(differences) > MAX_DIFFERENCES),
            )
        else:
            self._welcome(identity, hello)

    def _welcome(self, identity: bytes, hello: Message) -> None:
        """Lets a client in. One with the same name that came before is replaced: its process may have been killed."""
        assert self.description is not None
        peer = Peer(identity, *(hello[key] for key in ("role", "uid", "life", "number", "session")))
        for other in list(self.peers.values()):
            if other.incarnation != peer.incarnation and (other.uid == peer.uid or other.identity == identity):
                keep_newest(self._replaced, other.incarnation, None, MAX_REPLACED_INCARNATIONS)
                self._forget(other)
        known = self.peers.get(identity)
        self._reply(identity, "welcome", self.description.text(), life=self.incarnation)
        if known is not None and known.session == peer.session:
            return  # this hello was sent before the client had read its welcome
        log.info("%s has come", peer.uid)
        self.peers[identity] = peer
        self.arrived(peer)

    def _refuse(self, identity: bytes, why: str) -> None:
        self.complain(f"refused: {why}")
        self._reply(identity, "refused", why)

    def _reply(self, identity: bytes, kind: str, text: str | None = None, **values: Any) -> None:
        self._send(identity, self.codec.encode(kind, values) if text is None else self.codec.say(kind, text, **values))

    def _send(self, identity: bytes, frames: Frames) -> None:
        try:
            send_frames(self._socket, [identity, *frames])
        except zmq.ZMQError:
            log.debug("a client could not be answered")

    def _forget_silent(self) -> None:
        now = time.monotonic()
        if now - self._checked_silence_at > SILENCE_CHECK_SECONDS:
            self._checked_silence_at = now
            for peer in [p for p in self.peers.values() if p.silent > CLIENT_GONE_SECONDS]:
                log.warning("%s has not been heard for %.0f s", peer.uid, peer.silent)
                self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        self.peers.pop(peer.identity, None)
        self.left(peer)
