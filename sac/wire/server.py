"""One end of the wire: a socket that many clients talk to. It knows who they are; what they want is for its owner."""

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
from sac.wire.frames import receive_frames, send_frames
from sac.wire.handshake import Description
from sac.wire.keys import Keys, check_bind
from sac.wire.peer import CLIENT_GONE_SECONDS, Peer, counters_of, new_incarnation

log = logging.getLogger(__name__)
MAX_MESSAGES_PER_TURN = 256  # messages handled before the owner gets a turn
MAX_LOGGED_BAD_MESSAGES = 5  # bad messages that are logged one by one
MAX_LOGGED_CHARACTERS = 1000  # characters of a message's fault that are logged, at most
# Whoever comes through may say what it likes as often as it likes; what is kept of it is bounded.
MAX_PEERS = 4096  # clients that may be there at once
MAX_PENDING_DESCRIPTIONS = (
    1024  # hellos of clients that are asked to describe themselves: the newest are kept, others say hello again
)
MAX_REPLACED_INCARNATIONS = 4096  # lives that are refused because another came in their place: the newest are kept
MAX_CLIENT_NUMBER = 10_000  # the largest number that tells clients of one role apart


class Server:
    """Binds, welcomes clients that agree with `description`, answers pings with `counters`, notices who has left.

    `arrived(peer)` is called at each welcome, `left(peer)` when one said goodbye, fell silent or lives anew. Without a
    description the server waits for a learner to give one (`described(description)` is then called). To be used from
    one thread. `places` bounds how many of a role may be there; who finds none asks again. Raises UserError when it
    cannot listen.
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
        self.peers: dict[bytes, Peer] = {}
        self.counters: Mapping[str, Any] = {}  # what a pong says
        self.bad = 0  # messages that nothing was done about
        self._arrived, self._left, self._described = arrived, left, described
        self._places = places or {}
        self._asked: dict[bytes, Message] = {}  # hellos of those who shall describe themselves
        self._replaced: dict[int, None] = {}  # lives whose place another took: two that live would take turns for ever
        self._looked = time.monotonic()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 500)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # who comes back by another line is the same
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._authenticator = None
        port = directory.port(role)
        try:
            if keys is not None:
                self._authenticator = keys.protect_server(self._socket)
            self._socket.bind(f"tcp://{host}:{port or '*'}")
        except UserError:  # of the keys
            self.close()
            raise
        except zmq.ZMQError as error:
            self.close()
            raise UserError(
                f"the {role} cannot listen at {host}:{port}: {error}; choose another net.{role}_port or net.bind"
            ) from error
        self.port = int(self._socket.getsockopt(zmq.LAST_ENDPOINT).rsplit(b":", 1)[1])
        directory.announce(role, self.port, self._listen_near(directory.near_name(role)))

    def receive(self, timeout: float) -> list[tuple[Peer, Message]]:
        """What clients ask for, after at most `timeout` seconds of waiting; empty when nobody did."""
        requests: list[tuple[Peer, Message]] = []
        for _ in range(MAX_MESSAGES_PER_TURN):
            # small frames: a copy is cheaper
            frames = receive_frames(self._socket, timeout, True, self.codec.max_frames, MAX_MESSAGE_BYTES, envelope=1)
            if frames is None:
                break
            timeout, request = 0.0, self._take(frames[0], frames[1:])
            if request is not None:
                requests.append(request)
        self._forget_silent()
        return requests

    def send(self, peer: Peer, frames: list) -> None:
        """To a client; one that is not there any more gets nothing, one that does not read holds nobody up."""
        try:
            send_frames(self._socket, [peer.identity, *frames])
        except zmq.ZMQError:
            log.debug("%s could not be answered", peer.uid)

    def say(self, peer: Peer, kind: str, **values: Any) -> None:
        self.send(peer, self.codec.encode(kind, values))

    def complain(self, what: str) -> None:
        """Counts a message that nothing was done about; neither many nor long ones fill the log."""
        self.bad += 1
        if self.bad <= MAX_LOGGED_BAD_MESSAGES or self.bad % 1000 == 0:
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
        """Listens there too; returns the address, None where that cannot be: tcp is enough."""
        try:
            if address is not None:
                self._socket.bind(address)
            return address
        except zmq.ZMQError as error:
            log.info("the %s does not listen at %s: %s", self.role, address, error)
            return None

    def _take(self, identity: bytes, frames: list) -> tuple[Peer, Message] | None:
        """A request, where it is one and not for us."""
        try:
            message = self.codec.decode(frames)
        except BadMessage as error:
            self.complain(str(error))
            if identity in self.peers:
                self.peers[identity].heard = time.monotonic()
            return None
        if message.kind == "hello":
            self._hello(identity, message)
            return None
        if message.kind == "describe":
            self._description(identity, message)
            return None
        peer = self.peers.get(identity)
        if peer is None:
            self._reply(identity, "say_hello")
            return None
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
        if hello["life"] <= 0:
            self._refuse(identity, f"{hello['life']} is no life")
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
            _keep(self._asked, identity, hello, MAX_PENDING_DESCRIPTIONS)
            self._reply(identity, "describe_yourself")
        else:
            self._welcome(identity, hello)

    def _full(self, identity: bytes, hello: Message) -> bool:
        if len(self.peers) >= MAX_PEERS and identity not in self.peers:
            return True
        others = [p for p in self.peers.values() if p.role == hello["role"] and p.uid != hello["uid"]]
        return len(others) >= self._places.get(hello["role"], len(others) + 1)

    def _description(self, identity: bytes, message: Message) -> None:
        hello = self._asked.pop(identity, None)
        if hello is None:
            return
        try:
            theirs = Description.of(message.text)
            if self.description is None:
                self._described(theirs)
                self.description = theirs
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._refuse(identity, f"no description: {error}")
            return
        differences = theirs.differences(self.description)
        if differences:
            self._refuse(
                identity,
                f"{hello['uid']} ({theirs.hash}) and the {self.role} ({self.description.hash}) differ in "
                f"{'; '.join(differences)}",
            )
        else:
            self._welcome(identity, hello)

    def _welcome(self, identity: bytes, hello: Message) -> None:
        peer = Peer(identity, *(hello[key] for key in ("role", "uid", "life", "number", "session")))
        for other in list(self.peers.values()):
            if other.incarnation != peer.incarnation and (other.uid == peer.uid or other.identity == identity):
                _keep(self._replaced, other.incarnation, None, MAX_REPLACED_INCARNATIONS)
                self._forget(other)
        known = self.peers.get(identity)
        self._reply(identity, "welcome", self.description.text(), life=self.incarnation)
        if known is not None and known.session == peer.session:
            return  # it said hello once more before it had heard of its welcome
        log.info("%s has come", peer.uid)
        self.peers[identity] = peer
        self._arrived(peer)

    def _refuse(self, identity: bytes, why: str) -> None:
        self.complain(f"refused: {why}")
        self._reply(identity, "refused", why)

    def _reply(self, identity: bytes, kind: str, text: str | None = None, **values: Any) -> None:
        frames = self.codec.encode(kind, values) if text is None else self.codec.say(kind, text, **values)
        try:
            send_frames(self._socket, [identity, *frames])
        except zmq.ZMQError:
            log.debug("a client could not be answered")

    def _forget_silent(self) -> None:
        now = time.monotonic()
        if now - self._looked > 1.0:
            self._looked = now
            for peer in [p for p in self.peers.values() if p.silent > CLIENT_GONE_SECONDS]:
                log.warning("%s has not been heard for %.0f s", peer.uid, peer.silent)
                self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        self.peers.pop(peer.identity, None)
        self._left(peer)


def _keep(kept: dict, key: Any, value: Any, most: int) -> None:
    """The newest `most` entries stay."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
