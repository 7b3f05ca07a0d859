"""Several Ray nodes on this machine, and on them a tiny cell, a tiny population, and tiny jobs."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from launchers.jobs.job import RUNNING, Status, read_status
from tests.faults.cells import RunningCell
from tests.faults.test_population_faults import CELLS, PopulationOfCells
from tests.figures import figure
from tests.launchers.multiruns import Multirun
from tests.runs.short_runs import RunFiles

CELL = (
    "hydra/launcher=ray_roles", "base.name=cell", "seed=1", "base.max_step=-1", "eval.per_step=-1",
    "base.update_policy_mode=false", "hydra.launcher.resources.learner.num_cpus=1",
    "hydra.launcher.resources.replay.custom={spare: 1}",
)  # fmt: skip
POPULATION = (
    *(word for word in CELLS if not word.startswith(("hydra/launcher=", "hydra.launcher.learners="))),
    "hydra/launcher=ray_roles", "hydra.launcher.learners=2", "hydra.launcher.placement=STRICT_PACK",
    "hydra.launcher.resources.learner.num_cpus=1", "hydra.launcher.resources.evolver.custom={evolver: 1}",
)  # fmt: skip
SPARE = {"num_cpus": 1, "resources": {"spare": 1}}  # a node with room for a replay
FOR_EVOLVER = {"num_cpus": 1, "resources": {"evolver": 1}}  # the node of the evolver
FOR_CELL = {"num_cpus": 3}  # the node of one cell of the population


class Nodes:
    """A head, and nodes that can be removed; usually two of one core, one of which gets the replay of a cell."""

    def __init__(self, head_cpus: int = 3, others: Sequence[Mapping[str, Any]] = (SPARE, SPARE)):
        head = {"num_cpus": head_cpus, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._spare = {}
        for other in others:
            self.add_node(**other)
        self.address = self._cluster.address

    def add_node(self, **resources) -> None:
        node = self._cluster.add_node(**resources)
        self._spare[node.all_processes["raylet"][0].process.pid] = node

    def remove_node_of(self, ray_actor: int) -> None:
        """Kills the node on which a Ray actor runs, and all that is Ray's there."""
        self._cluster.remove_node(self._spare.pop(parent(ray_actor)), allow_graceful=False)

    def can_lose(self, ray_actor: int) -> bool:
        """Whether a Ray actor runs on a node that can be removed."""
        return parent(ray_actor) in self._spare

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


class RayJobs(Multirun):
    """`run.py -m hydra/launcher=ray ...` with short jobs that save often."""

    def __init__(self, folder: Path, address: str | None, *arguments: str):
        words = ["hydra/launcher=ray", "sac.save_model_per_step=20", *arguments]
        super().__init__(folder, *words, *([f"hydra.launcher.address={address}"] if address else []))

    @property
    def newest(self) -> Path:
        """The folder of the newest multirun."""
        return max((self.folder / "m" / "pendulum" / "multirun").glob("*"), default=self.folder)

    def status(self, job: int) -> Status:
        search = self.folder / "m" / "pendulum" / "sweeps" / "s"
        return read_status((search if search.exists() else self.newest) / "jobs" / str(job))

    def ray_actor(self, job: int) -> int:
        """The process of a running job's Ray actor; 0 where there is none just now."""
        process = self.status(job).process
        try:
            return parent(process) if process in self.children() else 0
        except OSError:
            return 0

    def saved(self, job: int) -> bool:
        """Whether a job runs that has written a checkpoint."""
        status = self.status(job)
        return status.state == RUNNING and bool(status.folder) and bool(RunFiles(self.folder / status.folder).steps)


class RayPopulation(PopulationOfCells):
    """`run.py -m hydra/launcher=ray_roles hydra.launcher.learners=2 ...` with one actor in each cell."""

    def __init__(self, folder: Path, nodes: Nodes, *arguments: str):
        super().__init__(folder, *POPULATION, f"hydra.launcher.address={nodes.address}", *arguments)

    def ray_actor(self, role: str) -> int:
        """The process of the Ray actor of evolver, 1/learner ...; 0 where there is none just now."""
        pid = self.pid(role)
        return parent(pid) if pid in self.children() else 0
