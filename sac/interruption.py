"""SIGINT and SIGTERM end a run in order; a second one ends it at once, whatever it is doing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading

IN_ORDER = {signal.SIGINT: 130, signal.SIGTERM: 75}
CUT_SHORT = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interruption:
    """As a context manager it notes the first signal: ask `requested` between steps, exit with `exit_code`."""

    def __init__(self, doing: str = "saving, then ending", saves: bool = True):
        self.signal: int | None = None
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
        threading.Thread(target=_count, args=(reader,), name="signals", daemon=True).start()
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers = {s: signal.signal(s, self._note) for s in CUT_SHORT}
        return self

    def __exit__(self, *_) -> None:
        if self._handlers:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._wakeup)
            self._writer.close()

    def _note(self, number: int, _frame) -> None:
        if not self.requested:
            self.signal = number
            name = signal.Signals(number).name
            sys.stderr.write(f"\n{name}: {self._promise} (once more to end at once)\n")


def _count(reader: socket.socket) -> None:
    """Waits for the second signal."""
    seen = 0
    with reader:
        while received := reader.recv(16):
            for number in received:
                seen += number in CUT_SHORT
                if seen == 2:
                    end_at_once(number, "ended at once")


def end_at_once(number: int, why: str) -> None:
    """Ends this process and its workers as by signal `number`, saving nothing."""
    with contextlib.suppress(OSError):
        os.write(2, f"\n{why}; the newest checkpoint is the last one that was written\n".encode())
    for worker in multiprocessing.active_children():  # players have a guard that sees this process end
        worker.kill()
    os._exit(CUT_SHORT[number])
