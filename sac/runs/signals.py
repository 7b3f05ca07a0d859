"""SIGINT and SIGTERM end a run in order; a second one ends it at once, whatever it is doing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

IN_ORDER = {signal.SIGINT: 130, signal.SIGTERM: 75}
CUT_SHORT = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAYS_AFTER_SECONDS = 1.0  # of waiting after a signal: then it is said what is waited for
HANGS_AFTER_SECONDS = 10.0  # of waiting after a signal: then the run ends without what is waited for
LOOKS_SECONDS = 0.1  # between two looks after a signal


class Outside:
    """What the main thread is waiting for outside our own code; nothing of ours changes meanwhile.

    Whoever holds `lock` while something is waited for keeps the main thread out there.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.what, self.since = "", 0.0

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        self.since, self.what = time.monotonic(), what
        try:
            yield
        finally:
            with self.lock:
                self.what = ""


class Interruption:
    """As a context manager it notes the first signal: ask `requested` between steps, exit with `exit_code`.

    Where the main thread does not come back from `outside` after a signal, another thread calls `rescue` (which saves)
    and ends the process.
    """

    def __init__(self, doing: str = "saving, then ending", saves: bool = True):
        self.signal: int | None = None
        self.outside = Outside()
        self.rescue: Callable[[], None] = lambda: None
        self._promise, self._codes = doing, IN_ORDER if saves else CUT_SHORT
        self._handlers: dict = {}
        self._wakeup = -1

    @property
    def requested(self) -> bool:
        return self.signal is not None

    @property
    def name(self) -> str:
        return signal.Signals(self.signal).name if self.requested else ""

    @property
    def exit_code(self) -> int:
        """What the shell is told after an orderly end: 130 for SIGINT, 75 for SIGTERM and saved, 0 without a signal."""
        return self._codes[self.signal] if self.requested else 0

    def __enter__(self) -> Interruption:
        if threading.current_thread() is not threading.main_thread():  # elsewhere Python refuses handlers
            return self
        # Python runs handlers between two lines of Python only; the bytes of this pipe come in the midst of a long
        # compilation too
        self._writer, reader = socket.socketpair()
        self._writer.setblocking(False)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers = {s: signal.signal(s, self._note) for s in CUT_SHORT}
        return self

    def __exit__(self, *_) -> None:
        if self._handlers:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            self._writer.close()

    def _note(self, number: int, _frame=None) -> None:
        if not self.requested:
            self.signal = number
            say(f"{signal.Signals(number).name}: {self._promise} (once more to end at once)")

    # --- the thread that watches

    def _watch(self, reader: socket.socket) -> None:
        """Ends at once at the second signal, and after the first when the main thread stays outside."""
        first, waits = 0, None
        with reader:
            while True:
                try:
                    received = reader.recv(16)
                except TimeoutError:
                    waits.look()
                    continue
                if not received:  # all is over
                    return
                for number in received:
                    if number in CUT_SHORT and first:
                        end_at_once(number, "ended at once")
                    if number in CUT_SHORT:
                        first, waits = number, Waits(self, number)
                        reader.settimeout(LOOKS_SECONDS)


class Waits:
    """Looks, after a signal, whether the main thread comes back from outside."""

    def __init__(self, interruption: Interruption, number: int):
        self._interruption, self._number, self._since = interruption, number, time.monotonic()
        self._said = ""
        self._rescuer: threading.Thread | None = None

    def look(self) -> None:
        outside = self._interruption.outside
        waited = time.monotonic() - max(self._since, outside.since)
        if not outside.what or self._rescuer is not None:
            return
        if waited >= SAYS_AFTER_SECONDS and self._said != outside.what:
            self._said = outside.what
            self._interruption._note(self._number)  # the handler itself does not run inside of C
            left = HANGS_AFTER_SECONDS - waited
            say(f"waiting for {outside.what}; in {left:.0f} s the run ends without it")
        if waited >= HANGS_AFTER_SECONDS:  # in a thread of its own: a second signal ends this too
            self._rescuer = threading.Thread(
                target=self._end_without, args=(outside.since,), name="rescue", daemon=True
            )
            self._rescuer.start()

    def _end_without(self, since: float) -> None:
        interruption, outside = self._interruption, self._interruption.outside
        with outside.lock:
            if not outside.what or outside.since != since:
                self._rescuer = None  # it has come back
                return
            say(f"{outside.what} has not come back for {HANGS_AFTER_SECONDS:.0f} s: ending without it")
            code = interruption.exit_code
            try:
                interruption.rescue()
            except BaseException as error:
                say(f"error: {error}; the newest checkpoint is the last one that was written")
                code = 1
            _leave(code)


def say(words: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a screen that is gone
        sys.stderr.write(f"\n{words}\n")
        sys.stderr.flush()


def end_at_once(number: int, why: str) -> None:
    """Ends this process and its workers as by signal `number`, saving nothing."""
    with contextlib.suppress(OSError):
        os.write(2, f"\n{why}; the newest checkpoint is the last one that was written\n".encode())
    _leave(CUT_SHORT[number])


def _leave(code: int) -> None:
    for worker in multiprocessing.active_children():  # players have a guard that sees this process end
        worker.kill()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
