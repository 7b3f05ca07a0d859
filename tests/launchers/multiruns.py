"""`python run.py -m ...` as a user calls it, with tiny runs of pendulum, and what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.runs.short_runs import TINY, RunFiles

ROOT = Path(__file__).parents[2]
PENDULUM = (
    "env=gym/pendulum", *(word for word in TINY if not word.startswith(("base.name=", "seed=", "eval.per_step="))),
    "base.max_step=60", "eval.per_step=30", "base.threads=1",
)  # fmt: skip
ENV = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "launchers" / "plugins")]),
    "COLUMNS": "200", "WANDB_MODE": "disabled", "PYTHONUNBUFFERED": "1",
}  # fmt: skip


class Multirun:
    """Runs in `folder`; what it writes lies in m/pendulum."""

    def __init__(self, folder: Path, *arguments: str, flags: tuple[str, ...] = ()):
        self.folder, self.screen = folder, folder / "screen.txt"
        words = [sys.executable, str(ROOT / "run.py"), *flags, "-m", *PENDULUM, *arguments]
        with self.screen.open("w") as screen:
            self.process = subprocess.Popen(
                words, cwd=folder, env=os.environ | ENV, stdout=screen, stderr=subprocess.STDOUT
            )

    @property
    def said(self) -> str:
        return self.screen.read_text()

    def wait(self, seconds: float = 240) -> int:
        try:
            return self.process.wait(seconds)
        finally:
            self.end()

    def wait_for(self, words: str, times: int = 1, seconds: float = 120) -> None:
        """Until the screen holds `words` so many times."""
        until = time.monotonic() + seconds
        while self.said.count(words) < times:
            assert self.process.poll() is None and time.monotonic() < until, self.said
            time.sleep(0.05)

    def wait_until(self, happens, seconds: float = 120) -> None:
        until = time.monotonic() + seconds
        while not happens():
            assert self.process.poll() is None and time.monotonic() < until, self.said
            time.sleep(0.05)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def runs(self) -> list[RunFiles]:
        scene = self.folder / "m" / "pendulum"
        return [RunFiles(path.parent) for path in sorted(scene.glob("*/config.yaml"))]

    @property
    def results(self) -> Path:
        """The folder of the only multirun."""
        (folder,) = (self.folder / "m" / "pendulum" / "multirun").iterdir()
        return folder

    def children(self) -> list[int]:
        """Processes that run a job of this folder."""
        listed = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True).stdout
        rows = [row.split(None, 1) for row in listed.splitlines()[1:]]
        modules = ("launchers.jobs.child", "launchers.search.trial_child")
        mine = [(pid, words) for pid, words in rows if any(module in words for module in modules)]
        return [int(pid) for pid, words in mine if Path(f"/proc/{pid}/cwd").exists() and _cwd(pid) == self.folder]


def _cwd(pid: str) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None
