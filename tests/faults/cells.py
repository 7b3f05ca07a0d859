"""Cells as a user starts them, with processes that a test can find, kill and watch."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from tests.launchers.multiruns import Multirun

TOY = (
    "hydra/launcher=roles", "base.name=cell", "seed=1", "base.max_step=-1", "eval.per_step=-1",
    "sac.updates_per_step=0.05",
    "replay.limiter=bucket", "replay.capacity=524288", "sac.save_model_per_step=50", "base.update_sac_bak_per_step=20",
    "base.update_policy_mode=false", "hydra.launcher.learner_threads=1", "track.csv=true",
)  # fmt: skip


class RunningCell(Multirun):
    """One cell of a replay, a learner and actors; its run is m/<scene>/cell-0."""

    def __init__(self, folder: Path, *arguments: str, scene: str = "pendulum"):
        super().__init__(folder, *TOY, *arguments)
        self.run = folder / "m" / scene / "cell-0"
        self.scene = scene

    def job(self, role: str) -> Path:
        """The newest multirun's folder of a role: replay, learner, actor-1 ..."""
        multiruns = sorted((self.folder / "m" / self.scene / "multirun").iterdir(), key=lambda p: p.stat().st_mtime)
        return multiruns[-1] / "jobs" / "0" / role

    def status(self, role: str) -> dict:
        try:
            return json.loads((self.job(role) / "status.json").read_text())
        except (OSError, ValueError, IndexError):
            return {}

    def pid(self, role: str) -> int:
        return self.status(role).get("process", 0)

    def step(self, role: str) -> int:
        return self.status(role).get("step", 0)

    def updates(self) -> int:
        """As the replay has granted them; its file is written twice a second."""
        try:
            return json.loads((self.run / "replay" / "limiter.json").read_text())["updates"]
        except (OSError, ValueError):
            return 0

    def kill(self, role: str, number: int = signal.SIGKILL) -> int:
        """Raises ProcessLookupError where it is not there just now."""
        pid = self.pid(role)
        if not pid:  # to a kill that would mean everybody
            raise ProcessLookupError(role)
        os.kill(pid, number)
        return pid

    def seconds_until(self, happens, limit: float) -> float:
        began = time.monotonic()
        self.wait_until(happens, limit)
        return time.monotonic() - began

    def works(self, seconds: float = 120) -> None:
        """Waits until rows come in and updates are made."""
        self.wait_until(lambda: self.updates() > 2 and self.step("actor-1") > 0 and self.step("actor-2") > 0, seconds)

    def moves(self, seconds: float = 60) -> None:
        """Waits until both go on from here."""
        step, updates = self.step("replay"), self.updates()
        self.wait_until(lambda: self.step("replay") > step + 20 and self.updates() > updates, seconds)

    def processes(self) -> list[int]:
        """Everything that was started for this folder and is still there."""
        return [pid for pid in _all() if pid != os.getpid() and self._mine(pid)]

    def _mine(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            return str(self.folder) in words or Path(f"/proc/{pid}/cwd").readlink() == self.folder
        except OSError:
            return False

    def all_gone(self, seconds: float) -> float:
        """Seconds until none of them is left; fails when that takes longer."""
        began = time.monotonic()
        while left := self.processes():
            assert time.monotonic() - began < seconds, left
            time.sleep(0.05)
        return time.monotonic() - began


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
