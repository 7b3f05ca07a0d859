"""Finds, starts and ends a player: a process group that cannot outlive the trainer."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sac.errors import UserError

GUARD = Path(__file__).with_name("guard.py")
STAND_IN_PREFIX = "player:"  # base.build_path=player:roller runs envs/players/roller.py
EXIT_SECONDS = 5.0  # how long a player may take to exit by itself
LOG_TAIL_LINES = 20


class PlayerProcess:
    """A running player and its log files.

    Its standard output and standard error go to `<log_folder>/<name>.out`, and Unity's own log to `<name>.log`.
    """

    def __init__(self, command: Sequence[str], log_folder: Path, name: str) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        self._ended = False
        self.output, self.unity_log = log_folder / f"{name}.out", log_folder / f"{name}.log"
        guard = [sys.executable, "-I", "-S", str(GUARD)]
        logs = [] if any(word.lower() == "-logfile" for word in command) else ["-logFile", str(self.unity_log)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*guard, *command, *logs],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, which Ctrl-C does not reach
            )

    @property
    def exit_code(self) -> int | None:
        """The exit code of the player; None while it runs."""
        return self.process.poll()

    def exit_text(self) -> str:
        """How the player ended, as the end of a sentence."""
        code = self.exit_code
        if code is None:
            return "is still running"
        if code < 0 or code > 128:
            number = -code if code < 0 else code - 128
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(number).name}"
        return f"ended with exit code {code}"

    def end(self, grace: float = EXIT_SECONDS) -> None:
        """Waits `grace` seconds for the player to exit by itself, then kills its whole group. Leaves no zombie."""
        if self._ended:  # the process id may belong to another process by now
            return
        self._ended = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=grace)
        self._kill()

    def _kill(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # tells the guard to kill the player and to wait for it
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=EXIT_SECONDS)
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # also processes that the player has started
        elif self.process.poll() is None:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(self.process.pid)], check=False, capture_output=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=EXIT_SECONDS)

    def log_tail(self) -> str:
        """The last lines of both logs, for an error message."""
        tails = []
        for path in (self.output, self.unity_log):
            with contextlib.suppress(OSError):
                lines = path.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:]
                if lines:
                    tails.append("\n".join([f"The last lines of {path}:", *(f"  {line}" for line in lines)]))
        return "\n".join(tails) or f"The player wrote nothing ({self.output} is empty)."


def find_executable(build_path: Mapping[str, str] | str | None) -> Path:
    """The executable of `base.build_path` on this platform.

    The path may be that of the file with or without its suffix, of a macOS bundle or of a Windows folder with one .exe.

    Raises:
      UserError: there is no such file, or it is not executable; the text says what was looked for.
    """
    text = platform_path(build_path)
    path = Path(text).expanduser()
    candidates = [path, *(path.with_name(path.name + suffix) for suffix in _suffixes()), *_inside(path)]
    for candidate in candidates:
        if not candidate.is_file():
            continue
        if not os.access(candidate, os.X_OK):
            raise UserError(
                f"base.build_path: {candidate} is not executable. Run: chmod +x {shlex.quote(str(candidate))}"
            )
        return candidate.resolve()
    looked = "\n".join(f"  {candidate.absolute()}" for candidate in candidates)
    raise UserError(f"base.build_path={text}: no such Unity build. Looked for:\n{looked}\n{_HOW_TO_SET}")


_HOW_TO_SET = (
    "Set it to your build with base.build_path=/path/to/Build.x86_64, for several platforms with "
    "'base.build_path={linux: ..., darwin: ..., win32: ...}', or use a stand-in player: base.build_path=player:roller. "
    "To train in the Unity Editor: base.editor=true."
)


def platform_path(build_path: Mapping[str, str] | str | None) -> str:
    """The entry of `base.build_path` for this platform. Raises UserError when there is none."""
    if isinstance(build_path, Mapping):
        if build_path.get(sys.platform):
            return str(build_path[sys.platform])
        named = ", ".join(build_path) or "nothing"
        raise UserError(f"base.build_path names {named}, but no build for {sys.platform}. {_HOW_TO_SET}")
    if not build_path:
        raise UserError(f"base.build_path is not set. {_HOW_TO_SET}")
    return str(build_path)


def _suffixes() -> tuple[str, ...]:
    """What Unity appends to the name of a build on this platform."""
    return {"win32": (".exe",), "darwin": (".app",)}.get(sys.platform, (".x86_64", ".x86"))


def _inside(path: Path) -> list[Path]:
    """The executables in a macOS bundle or a Windows build folder."""
    if sys.platform == "darwin":
        bundles = [path, path.with_name(path.name + ".app")]
        return [file for bundle in bundles for file in sorted(bundle.glob("Contents/MacOS/*"))]
    if sys.platform == "win32":
        return [file for file in sorted(path.glob("*.exe")) if not file.name.startswith("UnityCrashHandler")]
    return []


def write_stand_in(build_path: str, folder: Path) -> Path:
    """Writes a launcher for `player:NAME` into `folder`, to be started like a build. UserError for other names."""
    name = build_path.removeprefix(STAND_IN_PREFIX)
    players = Path(__file__).parents[1] / "players"
    if not name.isidentifier() or not (players / f"{name}.py").is_file():
        known = ", ".join(
            path.stem for path in sorted(players.glob("*.py")) if 'if __name__ == "__main__"' in path.read_text("utf-8")
        )
        raise UserError(f"base.build_path={build_path}: no such stand-in player. There are: {known}")
    module, root = f"envs.players.{name}", Path(__file__).parents[2]
    if os.name == "posix":
        launcher = folder / name
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        settings = f"PYTHONPATH={shlex.quote(path)} OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"
        launcher.write_text(f'#!/bin/sh\n{settings} exec {shlex.quote(sys.executable)} -m {module} "$@"\n', "utf-8")
        launcher.chmod(0o755)
    else:
        launcher = folder / f"{name}.bat"
        launcher.write_text(f'@set PYTHONPATH={root}\n@"{sys.executable}" -m {module} %*\n', "utf-8")
    return launcher


def temporary_folder() -> tempfile.TemporaryDirectory:
    """A folder for the launcher and the logs of one environment."""
    return tempfile.TemporaryDirectory(prefix="unity-player-", ignore_cleanup_errors=True)
