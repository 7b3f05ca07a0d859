"""A child process ends when its parent asks it to, or when its parent is gone.

The parent process holds the other end of the child's standard input open. A line there asks the child to save and end;
when the pipe closes, the parent has ended, and the child ends at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from sac.runs.signals import end_at_once

END_REQUEST = b"end\n"


def watch_parent() -> None:
    """Starts a thread that reads standard input. The child also ends when the parent was killed by SIGKILL."""
    if hasattr(signal, "pthread_sigmask"):  # a Ray worker blocks SIGINT, and its child processes inherit that
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_read_standard_input, name="parent watch", daemon=True).start()


def _read_standard_input() -> None:
    with os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0) as pipe:
        while line := pipe.readline():
            if line == END_REQUEST and os.name == "nt":  # os.kill would end the process at once on Windows
                signal.raise_signal(signal.SIGINT)
            elif line == END_REQUEST:
                os.kill(os.getpid(), signal.SIGINT)  # sent to the process, it wakes a main thread that waits
    end_at_once(signal.SIGTERM, "the process that started this one is gone")
