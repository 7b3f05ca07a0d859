"""The trainer's end of the wire: a gRPC server on a port of its own, and the exchange of messages with one player."""

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

import grpc

from envs.unity_adapter.mlagents import (
    Communicator,
    UnityMessageProto,
    UnityToExternalProtoServicer,
    add_UnityToExternalProtoServicer_to_server,
)
from sac.errors import UserError

logger = logging.getLogger(__name__)

EDITOR_PORT = 5004  # where the Unity Editor looks for a trainer
PORTS_TRIED = 200
THREADS = 2  # one call is open at a time
POLL_SECONDS = 0.25  # a dead player is noticed after this time


class PlayerGone(Exception):  # noqa: N818 - an event, not always an error
    """The player died, left or does not answer; the text says which."""


class _Exchange(UnityToExternalProtoServicer):
    """Holds the player's call until the trainer has its reply: `inbox` from the player, `outbox` to it."""

    def __init__(self):
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue = queue.SimpleQueue()

    def Exchange(self, request, context):  # noqa: N802 - the protocol's name
        self.inbox.put(request)
        while True:
            with contextlib.suppress(queue.Empty):
                return self.outbox.get(timeout=1.0)
            if not context.is_active():  # the player died while it waited
                return _stop_message()


class _DaemonThreads(futures.Executor):
    """gRPC's workers. A ThreadPoolExecutor's threads are joined before atexit handlers run, so that a program which
    forgets to close would wait for ever for a player that waits for it."""

    def __init__(self, count: int):
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(count):
            threading.Thread(target=self._work, name="unity-server", daemon=True).start()

    def submit(self, fn, /, *args, **kwargs) -> futures.Future:
        future: futures.Future = futures.Future()
        self._calls.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def stop(self, count: int) -> None:
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
    """A listening port; `initialize` and `exchange` as mlagents_envs' own communicator has them.

    Unlike that one it hands messages over without pickling them, notices a dead player at once, takes messages above
    4 MiB, and listens on the loopback interface only unless `everywhere` (the editor may be on another machine).
    """

    def __init__(self, port: int, timeout: float, everywhere: bool = False):
        super().__init__()
        self.port, self.timeout = port, timeout
        self.service = _Exchange()
        self.stopped = False
        # so_reuseport 0: binding is then atomic, and of two jobs that want the same port exactly one gets it
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        )
        self._threads = _DaemonThreads(THREADS)
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
            self._threads.stop(THREADS)
            raise PortTaken(self.port)

    def initialize(self, inputs, poll_callback=None):
        output = self._receive(poll_callback)
        self._send(inputs)
        self._receive(poll_callback)  # the player's first question, answered by the first reset
        return output

    def exchange(self, inputs, poll_callback=None):
        self._send(inputs)
        return self._receive(poll_callback)

    def _send(self, inputs) -> None:
        message = UnityMessageProto(unity_input=inputs)
        message.header.status = 200
        self.service.outbox.put(message)

    def _receive(self, check_alive: Callable[[], None] | None):
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
        if message.header.status != 200:
            raise PlayerGone("left by itself")
        return message.unity_output

    def close(self) -> None:
        """Tells a waiting player to quit and frees the port."""
        if not self.stopped:
            self.stopped = True
            self.service.outbox.put(_stop_message())
            self.server.stop(0.5).wait(2.0)
            self._threads.stop(THREADS)


class PortTaken(Exception):  # noqa: N818
    """Somebody listens on this port."""


def lease(port: int, timeout: float) -> UnityServer:
    """A server on `port`, or on the next free one, which is logged. The bound port is the lease: nobody else gets it.

    Raises:
      UserError: no free port among the next 200.
    """
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        if not is_free(candidate):
            continue
        with contextlib.suppress(PortTaken):
            server = UnityServer(candidate, timeout)
            if candidate != port:
                logger.warning("base.port: %d is taken, using %d", port, candidate)
            return server
    raise UserError(f"base.port={port}: this port and the next {PORTS_TRIED - 1} are taken. Choose another base.port.")


def editor_server(timeout: float) -> UnityServer:
    """The server on the editor's fixed port. Raises UserError when it is taken."""
    with contextlib.suppress(PortTaken):
        if is_free(EDITOR_PORT):
            return UnityServer(EDITOR_PORT, timeout, everywhere=True)
    raise UserError(
        f"base.editor=true needs port {EDITOR_PORT}, where the Unity Editor looks for the trainer, but it is taken: "
        "another training is attached to the editor. End it first."
    )


def is_free(port: int) -> bool:
    """Whether a listener could be bound here now (a quiet test: gRPC would log the failure)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just closed is free
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _loopbacks() -> list[str]:
    """Players connect to `localhost`, which may be either."""
    addresses = ["127.0.0.1"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        addresses.append("[::1]")
    return addresses


def _stop_message() -> UnityMessageProto:
    message = UnityMessageProto()
    message.header.status = 400
    return message
