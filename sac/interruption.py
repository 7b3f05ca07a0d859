"""SIGINT and SIGTERM end a run in order; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading

SAVED = {signal.SIGINT: 130, signal.SIGTERM: 75}
CUT_SHORT = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Interruption:
    """As a context manager it notes the first signal: ask `requested` between steps, exit with `exit_code`."""

    def __init__(self):
        self.signal: int | None = None
        self._before: dict = {}

    @property
    def requested(self) -> bool:
        return self.signal is not None

    @property
    def name(self) -> str:
        return signal.Signals(self.signal).name if self.requested else ""

    @property
    def exit_code(self) -> int:
        """What the shell is told after an orderly end: 130 for SIGINT, 75 for SIGTERM, 0 without a signal."""
        return SAVED[self.signal] if self.requested else 0

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses handlers
            self._before = {s: signal.signal(s, self._note) for s in SAVED}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        if self.requested:
            sys.stderr.write("\nended at once; the newest checkpoint is the last one that was written\n")
            sys.stderr.flush()
            _end_children()
            os._exit(CUT_SHORT[number])
        self.signal = number
        sys.stderr.write(f"\n{signal.Signals(number).name}: saving, then ending (once more to end at once)\n")


def _end_children() -> None:
    import atexit

    atexit._run_exitfuncs()  # players and env workers are ended there; os._exit would leave them
