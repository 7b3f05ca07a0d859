"""The gRPC server of the trainer: it listens on a port of its own and exchanges messages with one player."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from envs.unity_adapter.mlagents import (
    Communicator,
    UnityMessageProto,
    UnityToExternalProtoServicer,
    add_UnityToExternalProtoServicer_to_server,
)
from sac.errors import UserError

logger = logging.getLogger(__name__)

EDITOR_PORT = 5004  # the port on which the Unity Editor looks for a trainer
MAX_PORTS_TRIED = 200
MAX_PORT = 65535
SERVER_THREADS = 2  # one more than the calls that are open at a time
POLL_SECONDS = 0.25  # between two looks whether the player is still alive
CALL_CHECK_SECONDS = 1.0  # between two looks whether the player still waits for its reply
STOP_SECONDS, STOP_WAIT_SECONDS = 0.5, 2.0  # how long an open call may go on at the end; how long to wait for all
STATUS_OK, STATUS_QUIT = 200, 400  # of a message


class PlayerGone(Exception):  # noqa: N818 - not always an error
    """The player died, left or does not answer; the text says which of these."""


class _Exchange(UnityToExternalProtoServicer):
    """Receives the player's calls into `inbox` and answers each with the next message of `outbox`."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue = queue.SimpleQueue()

    def Exchange(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        self.inbox.put(request)
        while True:
            with contextlib.suppress(queue.Empty):
                return self.outbox.get(timeout=CALL_CHECK_SECONDS)
            if not context.is_active():  # the player died while it waited for this reply
                return _stop_message()


class _DaemonThreads(futures.Executor):
    """Daemon threads for gRPC.

    Python joins the threads of a ThreadPoolExecutor before it runs atexit handlers: a program that exits without
    closing its environment would wait for ever for a player that waits for it.
    """

    def __init__(self, count: int) -> None:
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._work, name="unity-server", daemon=True).start()

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> futures.Future:
        future: futures.Future = futures.Future()
        self._calls.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def stop(self, count: int) -> None:
        """Ends `count` threads after the calls that are queued."""
        for _ in range(count):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, work = call
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)


class UnityServer(Communicator):
    """A listening port with the methods `initialize` and `exchange` of a communicator of mlagents_envs.

    Unlike that package's own it passes messages on without pickling them, notices within POLL_SECONDS that a player
    has died, accepts messages above 4 MiB, and listens on the loopback interface only, unless `everywhere` is set: the
    Unity Editor may run on another machine.
    """

    def __init__(self, port: int, timeout: float, everywhere: bool = False) -> None:
        super().__init__()
        self.port, self.timeout = port, timeout
        self.service = _Exchange()
        self.stopped = False
        # so_reuseport 0 makes binding atomic: of two jobs that want the same port exactly one gets it
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        )
        self._threads = _DaemonThreads(SERVER_THREADS)
        self.server = grpc.server(self._threads, options=options)
        add_UnityToExternalProtoServicer_to_server(self.service, self.server)
        for address in ["[::]"] if everywhere and socket.has_ipv6 else _loopbacks():
            self._bind(f"{address}:{port}")
        self.server.start()

    def _bind(self, address: str) -> None:
        try:
            bound = self.server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if not bound:
            self.server.stop(None)
            self._threads.stop(SERVER_THREADS)
            raise PortTaken(self.port)

    def initialize(self, inputs: Any, poll_callback: Callable[[], None] | None = None) -> Any:
        output = self._receive(poll_callback)
        self._send(inputs)
        self._receive(poll_callback)  # the first request for actions, which the first reset answers
        return output

    def exchange(self, inputs: Any, poll_callback: Callable[[], None] | None = None) -> Any:
        self._send(inputs)
        return self._receive(poll_callback)

    def _send(self, inputs: Any) -> None:
        message = UnityMessageProto(unity_input=inputs)
        message.header.status = STATUS_OK
        self.service.outbox.put(message)

    def _receive(self, check_alive: Callable[[], None] | None) -> Any:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                message = self.service.inbox.get(timeout=POLL_SECONDS)
                break
            except queue.Empty:
                if check_alive is not None:
                    check_alive()
                if time.monotonic() > deadline:
                    raise PlayerGone(f"did not answer for {self.timeout:g} s") from None
        if message.header.status != STATUS_OK:
            raise PlayerGone("left by itself")
        return message.unity_output

    def close(self) -> None:
        """Tells a waiting player to quit and frees the port."""
        if not self.stopped:
            self.stopped = True
            self.service.outbox.put(_stop_message())
            self.server.stop(STOP_SECONDS).wait(STOP_WAIT_SECONDS)
            self._threads.stop(SERVER_THREADS)


class PortTaken(Exception):  # noqa: N818
    """Another process listens on this port."""


def lease_server(port: int, timeout: float) -> UnityServer:
    """A server on `port`, or on the next free port, which is logged. It holds the port until it is closed.

    Raises:
      UserError: none of MAX_PORTS_TRIED ports is free.
    """
    for candidate in range(port, min(port + MAX_PORTS_TRIED, MAX_PORT + 1)):
        if not is_free(candidate):
            continue
        with contextlib.suppress(PortTaken):
            server = UnityServer(candidate, timeout)
            if candidate != port:
                logger.warning("base.port: %d is taken, using %d", port, candidate)
            return server
    raise UserError(
        f"base.port={port}: this port and the next {MAX_PORTS_TRIED - 1} are taken. Choose another base.port."
    )


def editor_server(timeout: float) -> UnityServer:
    """The server on the fixed port of the Unity Editor. Raises UserError when that is taken."""
    with contextlib.suppress(PortTaken):
        if is_free(EDITOR_PORT):
            return UnityServer(EDITOR_PORT, timeout, everywhere=True)
    raise UserError(
        f"base.editor=true needs port {EDITOR_PORT}, where the Unity Editor looks for the trainer, but it is taken: "
        "another training is attached to the editor. End it first."
    )


def is_free(port: int) -> bool:
    """Whether the port is free now. The test itself logs nothing, whereas gRPC would log a failure to bind."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just closed counts as free
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _loopbacks() -> list[str]:
    """The addresses that `localhost`, to which players connect, may mean: IPv4, and IPv6 where there is any."""
    addresses = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        addresses.append("[::1]")
    return addresses


def _stop_message() -> UnityMessageProto:
    """The reply that makes a player quit."""
    message = UnityMessageProto()
    message.header.status = STATUS_QUIT
    return message
