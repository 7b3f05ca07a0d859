"""SIGINT and SIGTERM end a run in order: it saves first. A second signal ends it at once."""

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

# Exit codes by signal, of a run that has saved and of a process that has not:
SAVED_EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 75}
UNSAVED_EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}
NOTICE_AFTER_SECONDS = 1.0  # of waiting after a signal, the user is told what the run waits for
RESCUE_AFTER_SECONDS = 10.0  # of waiting after a signal, the run ends without what it waits for
LOOK_INTERVAL_SECONDS = 0.1  # between two looks at the main thread after a signal


class Outside:
    """A call of the main thread into foreign code, e.g. an environment's `step`; our own state is at rest meanwhile.

    `what` describes the call and is empty outside of one. The main thread cannot return from the call while another
    thread holds `lock`.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.what, self.since = "", 0.0

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Marks a call into foreign code."""
        self.since, self.what = time.monotonic(), what
        try:
            yield
        finally:
            with self.lock:
                self.what = ""


class Interruption:
    """A context manager that notes the first signal: check `requested` between steps, exit with `exit_code`.

    When the main thread does not return from a call `outside` after a signal, another thread calls `rescue` (which
    saves) and ends the process. `doing` is what the user is told that the run does after a signal; without `saves` the
    exit codes are those of a process that did not save.
    """

    def __init__(self, doing: str = "saving, then ending", saves: bool = True):
        self.signal: int | None = None
        self.outside = Outside()
        self.rescue: Callable[[], None] = lambda: None
        self._promise, self._codes = doing, SAVED_EXIT_CODES if saves else UNSAVED_EXIT_CODES
        self._handlers: dict = {}
        self._wakeup = -1

    @property
    def requested(self) -> bool:
        return self.signal is not None

    @property
    def name(self) -> str:
        return "" if self.signal is None else signal.Signals(self.signal).name

    @property
    def exit_code(self) -> int:
        """The process's exit code: 130 after SIGINT, 75 after SIGTERM when the run was saved, 0 without a signal."""
        return 0 if self.signal is None else self._codes[self.signal]

    def __enter__(self) -> Interruption:
        if threading.current_thread() is not threading.main_thread():  # Python allows handlers there only
            return self
        # Python runs handlers between two lines of Python only. The bytes in this pipe arrive during a long compilation
        # as well.
        self._writer, reader = socket.socketpair()
        self._writer.setblocking(False)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers = {s: signal.signal(s, self._note) for s in UNSAVED_EXIT_CODES}
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
        """Ends the process at the second signal, and after the first when the main thread does not return."""
        waits: Waits | None = None  # since the first signal
        with reader:
            while True:
                try:
                    received = reader.recv(16)
                except TimeoutError:  # there is one after the first signal only
                    assert waits is not None
                    waits.look()
                    continue
                if not received:  # the context was left
                    return
                for number in received:
                    if number in UNSAVED_EXIT_CODES and waits is not None:
                        end_at_once(number, "ended at once")
                    if number in UNSAVED_EXIT_CODES:
                        waits = Waits(self, number)
                        reader.settimeout(LOOK_INTERVAL_SECONDS)


class Waits:
    """Checks, after a signal, whether the main thread returns from a call into foreign code."""

    def __init__(self, interruption: Interruption, number: int):
        self._interruption, self._number, self._since = interruption, number, time.monotonic()
        self._said = ""
        self._rescuer: threading.Thread | None = None

    def look(self) -> None:
        """Tells the user what the run waits for, and starts the rescue when it has waited too long."""
        outside = self._interruption.outside
        waited = time.monotonic() - max(self._since, outside.since)
        if not outside.what or self._rescuer is not None:
            return
        if waited >= NOTICE_AFTER_SECONDS and self._said != outside.what:
            self._said = outside.what
            self._interruption._note(self._number)  # since Python does not run the handler during a call of C code
            left = RESCUE_AFTER_SECONDS - waited
            say(f"waiting for {outside.what}; in {left:.0f} s the run ends without it")
        if waited >= RESCUE_AFTER_SECONDS:  # in its own thread, so that a second signal can end it
            self._rescuer = threading.Thread(
                target=self._end_without, args=(outside.since,), name="rescue", daemon=True
            )
            self._rescuer.start()

    def _end_without(self, since: float) -> None:
        interruption, outside = self._interruption, self._interruption.outside
        with outside.lock:
            if not outside.what or outside.since != since:
                self._rescuer = None  # the main thread has returned
                return
            say(f"{outside.what} has not come back for {RESCUE_AFTER_SECONDS:.0f} s: ending without it")
            code = interruption.exit_code
            try:
                interruption.rescue()
            except BaseException as error:
                say(f"error: {error}; the newest checkpoint is the last one that was written")
                code = 1
            _leave(code)


def say(words: str) -> None:
    """Prints to stderr; a closed terminal is ignored."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"\n{words}\n")
        sys.stderr.flush()


def end_at_once(number: int, why: str) -> None:
    """Ends this process and its workers without saving, with the exit code of signal `number`."""
    with contextlib.suppress(OSError):
        os.write(2, f"\n{why}; the newest checkpoint is the last one that was written\n".encode())
    _leave(UNSAVED_EXIT_CODES[number])


def _leave(code: int) -> None:
    for worker in multiprocessing.active_children():  # Unity players end by themselves with this process
        worker.kill()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
