"""Files that stay whole in a crash, on a full disk and in a power cut: a reader finds the old or the new content."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

FLUSH_EVERY_SECONDS = 5.0  # of an OftenWritten file
UNSUPPORTED_ERRNOS = (errno.EINVAL, errno.ENOTSUP)  # raised by network drives that cannot flush a folder


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True, temporary: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path to write to; at the end of the block that file replaces `path`. Raises OSError.

    When the block raises, `path` stays as it was. With `flush` the file is brought to the disk before it replaces
    `path`, and the folder afterwards, so that a power cut cannot leave an empty file. `temporary` sets the temporary
    path.
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
    """Replaces a small file as a whole (see `replacing`). Raises OSError."""
    with replacing(path, flush=flush) as new:
        new.write_text(text, encoding="utf8")


class OftenWritten:
    """A small file that is replaced very often and is flushed to the disk every FLUSH_EVERY_SECONDS only.

    A power cut may leave it empty, so its reader must be able to do without it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._flushed_at = float("-inf")

    def write(self, text: str, *, last: bool = False) -> None:
        """Replaces the file and flushes it where a flush is due or this is the `last` text. Raises OSError."""
        now = time.monotonic()
        due = last or now - self._flushed_at >= FLUSH_EVERY_SECONDS
        write_atomically(self.path, text, flush=due)
        if due:
            self._flushed_at = now


def make_folder(path: Path) -> None:
    """Makes a folder and its parents, and brings them to the disk. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        flush_folder(path.parent)


def flush_file(file: BinaryIO) -> None:
    """Brings the content of an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Brings the names in a folder to the disk, where the system can do so (Windows cannot)."""
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
