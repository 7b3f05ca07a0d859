"""A learner whose place another takes: by mistake, on another machine, where no lock of a folder can tell."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.launchers.multiruns import ENV, PENDULUM, ROOT
from tests.runs.short_runs import RunFiles

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="runs roles"), pytest.mark.timeout(240)]


def ports(n: int) -> list[int]:
    """Free ones."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class Role:
    """A role in the foreground, in a models folder of its own as on a machine of its own."""

    def __init__(self, folder: Path, role: str, replay: int, learner: int):
        self.screen = folder / f"{role}-{learner}.txt"
        words = [
            sys.executable, str(ROOT / "run.py"), *PENDULUM, f"role={role}", f"base.models={role}-{learner}",
            "base.name=a", "base.max_step=-1", "eval.per_step=-1", "net=static", f"net.replay_port={replay}",
            f"net.learner_port={learner}", "sac.save_model_per_step=1000000000", "sac.save_model_per_minute=1000",
            "sac.write_summary_per_step=20", "track.csv=true",
        ]  # fmt: skip
        self.run = RunFiles(folder / f"{role}-{learner}" / "pendulum" / "a")
        with self.screen.open("w") as screen:
            self.process = subprocess.Popen(
                words, cwd=folder, env=os.environ | ENV, stdout=screen, stderr=subprocess.STDOUT
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()

    def learns(self) -> bool:
        metrics = self.run.path / "metrics.csv"
        return metrics.exists() and len(metrics.read_text().splitlines()) > 2


def test_it_is_told_so_and_saves_and_the_other_learns(tmp_path):
    replay, first, second = ports(3)
    with ExitStack() as stack:

        def start(role: str, learner: int) -> Role:
            return stack.enter_context(Role(tmp_path, role, replay, learner))

        def wait_for(what) -> None:
            until = time.monotonic() + 60
            while not what():
                assert time.monotonic() < until, [path.read_text() for path in tmp_path.glob("*.txt")]
                time.sleep(0.1)

        start("replay", first)
        old = start("learner", first)
        start("actor", first)
        wait_for(old.learns)
        assert not list(old.run.path.rglob("checkpoints/*/*.npz"))
        new = start("learner", second)
        wait_for(lambda: old.process.poll() is not None)
        assert old.process.returncode == 1
        said = old.screen.read_text()
        assert "refuses learner-1: another learner-1 has come since" in said and "Traceback" not in said
        updates = old.run.arrays()["agent/updates"]
        assert updates >= 20
        wait_for(new.learns)
        assert new.process.poll() is None
