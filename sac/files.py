"""Small files that a crash, a full disk or a power cut leaves whole: a reader finds the old one or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

FLUSH_EVERY_SECONDS = 5.0  # seconds between two flushes of a file that is written all the time
UNSUPPORTED_ERRNOS = (errno.EINVAL, errno.ENOTSUP)  # errors of a network drive that cannot flush a folder


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True, temporary: Path | None = None) -> Iterator[Path]:
    """Where to write a file, which takes the place of `path` at the end of the block, or never. Raises OSError.

    With `flush` the file is on the disk before it takes that place, and the folder after it: a power cut cannot leave
    an empty file. `temporary` is where it is written until then.
    """
    temporary = temporary or path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        if flush:
            with temporary.open("rb+") as file:
                flush_file(file)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if flush:
        flush_folder(path.parent)


def write_atomically(path: Path, text: str, *, flush: bool = True) -> None:
    """Writes a small file as a whole (see `replacing`). Raises OSError."""
    with replacing(path, flush=flush) as new:
        new.write_text(text, encoding="utf8")


class OftenWritten:
    """A small file that is written anew all the time, and flushed to the disk every few seconds only.

    What a power cut leaves of it may be empty, so its reader must be able to do without it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._flushed_at = float("-inf")

    def write(self, text: str, *, last: bool = False) -> None:
        """Replaces the file; the last text is always flushed. Raises OSError."""
        now = time.monotonic()
        due = last or now - self._flushed_at >= FLUSH_EVERY_SECONDS
        write_atomically(self.path, text, flush=due)
        if due:
            self._flushed_at = now


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it, so that they are there after a power cut. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        flush_folder(path.parent)


def flush_file(file: BinaryIO) -> None:
    """Brings a file that was written to the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Brings names and renames in a folder to the disk, where the system offers it (not on Windows)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED_ERRNOS:
            raise
    finally:
        os.close(handle)
