"""Several Ray nodes on this machine, and a tiny cell on them."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

from ray.cluster_utils import Cluster

from tests.faults.cells import RunningCell
from tests.figures import figure
from tests.launchers.multiruns import Multirun

CELL = (
    "hydra/launcher=ray_roles", "base.name=cell", "seed=1", "base.max_step=-1", "eval.per_step=-1",
    "base.update_policy_mode=false", "hydra.launcher.resources.learner.num_cpus=1",
    "hydra.launcher.resources.replay.custom={spare: 1}",
)  # fmt: skip


class Nodes:
    """A head for the learner and the actors, and two small nodes of which one gets the replay."""

    def __init__(self):
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False})
        self._spare = [self._cluster.add_node(num_cpus=1, resources={"spare": 1}) for _ in range(2)]
        self.address = self._cluster.address

    def remove_node_of(self, ray_actor: int) -> None:
        """Kills the node on which a Ray actor runs, and all that is Ray's there."""
        (node,) = [n for n in self._spare if n.all_processes["raylet"][0].process.pid == parent(ray_actor)]
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        self._cluster.shutdown()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class RunningRayCell(RunningCell):
    """`run.py -m hydra/launcher=ray_roles ...` with two actors."""

    def __init__(self, folder: Path, nodes: Nodes, *arguments: str):
        Multirun.__init__(self, folder, *CELL, f"hydra.launcher.address={nodes.address}", *arguments)
        self.run, self.scene = folder / "m" / "pendulum" / "cell-0", "pendulum"

    def replay_addresses(self) -> list[str]:
        """Where the first actor has found the replay, one after the other."""
        log = self.run / "roles" / "actor-1.log"
        return re.findall(r"welcome at the replay at (\S+)", log.read_text()) if log.exists() else []

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait(60)

    def recovers(self, name: str, fault: Callable[[int], object], limit: float, found: float) -> None:
        """What `fault` does to the replay's Ray actor is mended within `limit`, its new address known in `found` s."""
        old, before = self.pid("replay"), self.replay_addresses()
        fault(parent(old))
        process = self.seconds_until(lambda: self.pid("replay") not in (0, old), 120)
        figure("F18", f"{name}: the replay's process back after", process, "s", limit)
        more = self.seconds_until(lambda: len(self.replay_addresses()) > len(before), 120)
        assert self.replay_addresses()[-1] != before[-1]
        figure("F18", f"{name}: an actor welcome at the new address after", process + more, "s", found)
