"""Runs one player and takes it down when the trainer dies: `python unity_guard.py <player> <arguments>`.

A program of its own, standard library only. The trainer holds the other end of this process' standard input, which
the operating system closes however the trainer ends, kill -9 included. Guard and player form one process group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

POSIX = os.name == "posix"
closing = threading.Event()


def die_with_parent() -> None:
    """In the player, before it starts: on Linux the kernel kills it when this guard is killed."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def kill_all(player: subprocess.Popen) -> None:
    closing.set()
    if POSIX:
        player.kill()
        player.wait()  # collected here: where the trainer is process 1 of a container, nobody else would
        os.killpg(0, signal.SIGKILL)  # what the player started, and this process
    subprocess.run(["taskkill", "/T", "/F", "/PID", str(player.pid)], check=False, capture_output=True)
    os._exit(1)


def watch(player: subprocess.Popen) -> None:
    while os.read(0, 1):  # empty when the trainer's end is closed
        pass
    kill_all(player)


def main() -> int:
    trainer = os.getppid()
    linux = {"preexec_fn": die_with_parent} if sys.platform.startswith("linux") else {}
    try:
        player = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, **linux)
    except OSError as error:
        print(f"cannot start {sys.argv[1]}: {error}", file=sys.stderr)
        return 126
    watcher = threading.Thread(target=watch, args=(player,), daemon=True)
    watcher.start()
    while True:
        try:
            code = player.wait(timeout=1.0)
            if closing.is_set():
                watcher.join()
            return code if code >= 0 else 128 - code  # killed by signal n: 128 + n, as shells say it
        except subprocess.TimeoutExpired:
            if POSIX and os.getppid() != trainer:  # a fork of the trainer may still hold the pipe open
                kill_all(player)


if __name__ == "__main__":
    sys.exit(main())
