"""Standard output and error that nobody needs to read: what cannot be printed costs the words and nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class Unbreakable:
    """A text stream. When its other end is gone or its disk is full, it goes on into nowhere."""

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
        """What the stream still holds goes there too, so that Python does not fail over it when it ends."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def unbreakable_screen() -> Iterator[None]:
    """Standard output and error are Unbreakable inside, and flushed at the end."""
    before = sys.stdout, sys.stderr
    make_unbreakable()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def make_unbreakable() -> None:
    """Standard output and error of this process from now on."""
    sys.stdout, sys.stderr = (Unbreakable(stream or _nowhere()) for stream in (sys.stdout, sys.stderr))


def _nowhere() -> TextIO:
    """For a stream that was closed or never was (None), as by `2>&-`.

    It takes the lowest free number, the stream's own, so that no file of a run gets that and what libraries print.
    """
    return Path(os.devnull).open("w", encoding="utf8")
