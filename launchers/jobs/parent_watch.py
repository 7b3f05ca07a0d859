"""A child's standard input is its parent's hand: a line asks it to end in order, and when the hand is gone it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading

from sac.runs.signals import end_at_once

END = b"end\n"


def hold() -> None:
    """Watches from a thread of its own. A parent that was killed, even by SIGKILL, takes its children along."""
    if hasattr(signal, "pthread_sigmask"):  # a Ray worker blocks it, and what is blocked is inherited
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    with os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0) as hand:
        while line := hand.readline():
            if line == END and os.name == "nt":  # os.kill would end it at once there
                signal.raise_signal(signal.SIGINT)
            elif line == END:
                os.kill(os.getpid(), signal.SIGINT)  # to the process: wakes a main thread that waits
    end_at_once(signal.SIGTERM, "the process that started this one is gone")
