"""Runs one player and kills it when the trainer dies: `python guard.py <player> <arguments>`.

This is a program of its own, which needs the standard library only. The trainer holds the other end of its standard
input, and the operating system closes that however the trainer ends, even by `kill -9`. The guard and the player form
one process group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

POSIX = os.name == "posix"
PARENT_CHECK_SECONDS = 1.0  # between two looks whether the trainer still is the parent process
closing = threading.Event()


def die_with_parent() -> None:
    """Runs in the player before it starts: asks Linux to kill the player when this guard is killed."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def kill_all(player: subprocess.Popen) -> None:
    """Kills the player, what it started, and this process."""
    closing.set()
    if POSIX:
        player.kill()
        player.wait()  # it would stay a zombie where the trainer is process 1 of a container
        os.killpg(0, signal.SIGKILL)  # the whole group, this process included
    subprocess.run(["taskkill", "/T", "/F", "/PID", str(player.pid)], check=False, capture_output=True)
    os._exit(1)


def watch(player: subprocess.Popen) -> None:
    """Waits until the trainer's end of standard input is closed, then kills everything."""
    while os.read(0, 1):
        pass
    kill_all(player)


def main() -> int:
    """Runs the player; the exit code is the player's, in the form that shells use."""
    trainer = os.getppid()
    first_call = die_with_parent if sys.platform.startswith("linux") else None
    try:
        player = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=first_call)
    except OSError as error:
        print(f"cannot start {sys.argv[1]}: {error}", file=sys.stderr)
        return 126
    watcher = threading.Thread(target=watch, args=(player,), daemon=True)
    watcher.start()
    while True:
        try:
            code = player.wait(timeout=PARENT_CHECK_SECONDS)
            if closing.is_set():
                watcher.join()
            return code if code >= 0 else 128 - code  # after signal n it is 128 + n
        except subprocess.TimeoutExpired:
            if POSIX and os.getppid() != trainer:  # the pipe stays open where a fork of the trainer holds it
                kill_all(player)


if __name__ == "__main__":
    sys.exit(main())
