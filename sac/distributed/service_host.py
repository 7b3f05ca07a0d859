"""Runs a server whose service is made once a learner has sent its description: observations, actions, config."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from sac.wire.codec import Message
from sac.wire.discovery import Directory
from sac.wire.handshake import Description
from sac.wire.keys import Keys
from sac.wire.messages import control
from sac.wire.peer import Peer
from sac.wire.server import Server

RECEIVE_SECONDS = 0.1  # longest wait for messages in one turn of the loop
REPORT_SECONDS = 0.5  # between two reports
FAREWELL_SECONDS = 2.0  # the server stays so long after the end, for clients that reconnect


class Service(Protocol):
    @property
    def ended(self) -> bool:
        """Whether there is nothing left to serve."""

    def answer(self, requests: list[tuple[Peer, Message]]) -> None: ...
    def arrived(self, peer: Peer) -> None: ...


HostedService = TypeVar("HostedService", bound=Service)


class ServiceHost(ABC, Generic[HostedService]):
    """The server of a role and its service; both are None until they exist."""

    def __init__(self, role: str, bind: str, keys: Keys | None):
        self._role, self._bind, self._keys = role, bind, keys
        self.server: Server | None = None
        self.service: HostedService | None = None

    def serve(self, directory: Directory, interrupted: Callable[[], bool], report: Callable[[], None]) -> None:
        """Serves until the service has ended or a signal comes; calls `report()` now and then.

        Raises UserError when the server cannot listen.
        """
        server = self.server = Server(
            self._role, control(), directory, None, host=self._bind, keys=self._keys, described=self._described
        )
        if (known := self.known_description()) is not None:
            self._open(known)
            server.description = known
        reported_at, end_at = 0.0, float("inf")
        while not interrupted() and time.monotonic() < end_at:
            requests = server.receive(RECEIVE_SECONDS)  # a description among the messages makes the service
            if self.service is not None:
                self.service.answer(requests)
                end_at = min(end_at, time.monotonic() + FAREWELL_SECONDS) if self.service.ended else float("inf")
            if time.monotonic() - reported_at > REPORT_SECONDS:
                reported_at = time.monotonic()
                report()

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

    @abstractmethod
    def known_description(self) -> Description | None:
        """The description that an earlier process has saved, or None."""

    @abstractmethod
    def remember(self, description: Description) -> None:
        """Saves the description for `known_description` of the next process."""

    @abstractmethod
    def make_service(self, server: Server, description: Description) -> HostedService:
        """The service that is described; also gives the server its codec.

        Raises ValueError, KeyError, TypeError or AttributeError for a description that does not fit.
        """

    def _described(self, description: Description) -> None:
        self._open(description)
        self.remember(description)

    def _open(self, description: Description) -> None:
        assert self.server is not None
        self.service = self.make_service(self.server, description)
        self.server.arrived = self.service.arrived
