"""What a process prints: streams whose failure costs nothing but the words, and log records that are shown once."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

ONCE = {"once": True}  # the keyword `extra` of a logging call whose record is shown once in a run


class UnbreakableStream:
    """A text stream that writes to the null device once its reader is gone or its disk is full."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._into_nowhere()
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._into_nowhere()

    def _into_nowhere(self) -> None:
        """Redirects the stream with the text that it still buffers; otherwise Python would fail to flush it at exit."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unbreakable_screen() -> Iterator[None]:
    """Makes standard output and error unbreakable inside of the block, and flushes them at its end."""
    before = sys.stdout, sys.stderr
    make_unbreakable()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def make_unbreakable() -> None:
    """Makes standard output and error of this process unbreakable from now on."""
    sys.stdout, sys.stderr = (UnbreakableStream(stream or _nowhere()) for stream in (sys.stdout, sys.stderr))


def _nowhere() -> TextIO:
    """The null device, in place of a stream that was closed before the start, as by `2>&-`, and is None in Python.

    It gets the lowest free file descriptor, which is the closed stream's. Otherwise a file of the run would get that
    descriptor, and with it the text that libraries print.
    """
    return Path(os.devnull).open("w", encoding="utf8")


class SaidOnce(logging.Filter):
    """Lets each text of the records that carry `extra=ONCE` pass once, and all other records always.

    A training environment and its evaluation environment give the same warnings; the user reads each of them once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "once", False):
            return True
        text = record.getMessage()
        new = text not in self._said
        self._said.add(text)
        return new
