"""Several Ray nodes on this machine, a tiny cell on them, and faults whose consequences are timed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ray.cluster_utils import Cluster

from tests.launchers.multiruns import Multirun

CELL = (
    "hydra/launcher=ray_roles", "base.update_policy_mode=false", "base.name=a", "seed=1", "eval.per_step=-1",
    "hydra.launcher.resources.learner.num_cpus=1", "hydra.launcher.resources.replay.custom={spare: 1}",
)  # fmt: skip
LIMIT = 120.0  # seconds for anything


class Nodes:
    """A head with the learner and the actors, and two small nodes of which one gets the replay."""

    def __init__(self):
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False})
        self._spare = [self._cluster.add_node(num_cpus=1, resources={"spare": 1}) for _ in range(2)]
        self.address = self._cluster.address

    def remove_node_of(self, pid: int) -> None:
        """Kills the node on which a Ray actor runs, and all that is Ray's there."""
        (node,) = [node for node in self._spare if _raylet(node) == _parent(pid)]
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        self._cluster.shutdown()


def _raylet(node) -> int:
    return node.all_processes["raylet"][0].process.pid


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class RayCellRun(Multirun):
    """`run.py -m hydra/launcher=ray_roles ...` in `folder` with two actors."""

    def __init__(self, folder: Path, *arguments: str):
        super().__init__(folder, *CELL, *arguments)
        self.path = folder / "m" / "pendulum" / "a-0"

    def process_of(self, role: str) -> int | None:
        """Of a role's process on whichever node."""
        for pid in self.children():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").endswith(f"/{role}"):
                    return pid
        return None

    def ray_actor_of(self, role: str) -> int:
        return _parent(self.process_of(role))

    def replay_addresses(self) -> list[str]:
        """Where the first actor has found the replay, one after the other."""
        log = self.path / "roles" / "actor-1.log"
        return re.findall(r"welcome at the replay at (\S+)", log.read_text()) if log.exists() else []

    def steps(self) -> int:
        """That the replay has got."""
        found = re.findall(r'"step": (\d+)', (self.job / "replay" / "status.json").read_text())
        return int(found[0]) if found else 0

    @property
    def job(self) -> Path:
        return self.results / "jobs" / "0"

    def plays(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(self.replay_addresses()) and self.steps() > 50
        return False

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait(60)


@dataclass
class Recovery:
    """Seconds until the replay's process ran again, and until an actor was welcome at its new address."""

    process: float
    welcome: float
    moved: bool


def timed(run: RayCellRun, fault: Callable[[], None]) -> Recovery:
    """Does something to the replay of a cell that plays."""
    old, before = run.process_of("replay"), run.replay_addresses()
    start = time.monotonic()
    fault()
    run.wait_until(lambda: run.process_of("replay") not in (None, old), LIMIT)
    process = time.monotonic() - start
    run.wait_until(lambda: len(run.replay_addresses()) > len(before), LIMIT)
    return Recovery(process, time.monotonic() - start, run.replay_addresses()[-1] != before[-1])


def faults(folder: Path) -> Iterator[tuple[str, Recovery]]:
    """F18, one fault after the other; then the cell is interrupted and must have saved."""
    nodes = Nodes()
    try:
        run = RayCellRun(folder, f"hydra.launcher.address={nodes.address}", "base.max_step=100000")
        try:
            run.wait_until(run.plays, LIMIT)
            yield "Ray worker killed", timed(run, lambda: os.kill(run.ray_actor_of("replay"), signal.SIGKILL))
            steps = run.steps()
            run.wait_until(lambda: run.steps() > steps + 20, LIMIT)
            yield "node removed", timed(run, lambda: nodes.remove_node_of(run.ray_actor_of("replay")))
            steps = run.steps()
            run.wait_until(lambda: run.steps() > steps + 20, LIMIT)
            assert run.interrupt() == 130, run.said
        finally:
            run.end()
    finally:
        nodes.end()


def left_over(folder: Path) -> list[str]:
    """Processes that have to do with a folder: those that run in it."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    found = []
    for row in listed:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{row.split()[0]}/cwd").readlink() == folder:
                found.append(row)
    return found
