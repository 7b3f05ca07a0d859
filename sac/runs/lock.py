"""Locks of a run, one for each role. The operating system releases a lock when its process dies."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from sac.config.run_names import FOLDER_CHOSEN_BY
from sac.errors import UserError
from sac.runs.folder import RunFolder

log = logging.getLogger(__name__)
ENDING_SECONDS = 10.0  # time that an earlier process with the same lock may need to end
LOCK_SECONDS = "SAC_LOCK_SECONDS"  # environment variable: that time where a drive keeps the locks of a lost machine
# Errors of network drives that do not offer locks:
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def hold_run_lock(folder: RunFolder, role: str) -> Iterator[None]:
    """Holds the lock of `role` (train, learner, actor-1 ...) of this run, so that no second process runs that role.

    Raises UserError when another process keeps the lock for longer than it may take to end, or when the folder cannot
    be written. On a drive without locks a warning is logged.
    """
    path = folder.lock(role)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write the run folder {folder.path}: {error.strerror or error} ({FOLDER_CHOSEN_BY})"
        ) from error
    lock, holder = FileLock(path), Holder(path)
    if not _taken(lock, 0, folder):
        seconds = ending_seconds(ENDING_SECONDS)
        waits = f"{folder.path} is in use by {holder.name()}: waiting up to {seconds:.0f} s for its end"
        sys.stderr.write(f"{waits}\n")
        if not _taken(lock, seconds, folder):
            does, more = ("trains", "") if role == "train" else (f"is {role} of", " (actors differ in net.number)")
            raise UserError(
                f"{holder.name()} {does} the run {folder.path} already: wait for its end, or end it, or choose another "
                f"base.name{more}"
            )
    try:
        holder.write()
        yield
    finally:
        holder.remove()
        with contextlib.suppress(OSError):  # Windows removes it by itself
            path.unlink()  # while it is held: a waiting process then sees that the file is gone and makes a new one
        lock.release()


def ending_seconds(usual: float) -> float:
    """How many seconds a process waits for a lock of an earlier one: `usual`, or what LOCK_SECONDS says."""
    return float(os.environ.get(LOCK_SECONDS, usual))


def _taken(lock: FileLock, seconds: float, folder: RunFolder) -> bool:
    """Whether this process has the lock now. Raises UserError when the lock file cannot be opened."""
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        number = getattr(error, "errno", None)
        if number not in NO_LOCKS and not isinstance(error, NotImplementedError):
            why = getattr(error, "strerror", None) or error
            raise UserError(
                f"the run folder {folder.path} cannot be locked: {why} ({lock.lock_file}); a run needs a folder that "
                "it may write: choose another base.models or mend its permissions"
            ) from error
        log.warning("%s cannot be locked (%s): take care that no second process uses it", folder.path, error)
    return True


class Holder:
    """The name of the process that holds a lock, in a file beside it, since Windows lets nobody read a locked file."""

    def __init__(self, lock: Path):
        self._path = lock.with_suffix(".pid")

    def write(self) -> None:
        """Writes this process's name; an error of the disk is ignored."""
        with contextlib.suppress(OSError):
            self._path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf8")

    def name(self) -> str:
        try:
            return self._path.read_text(encoding="utf8").strip() or "another process"
        except (OSError, ValueError):
            return "another process"

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
