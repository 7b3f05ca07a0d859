"""How many jobs a cluster has room for. A node is a mapping of resources to amounts, under the names of Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

Node = Mapping[str, float]
LOOK_INTERVAL_SECONDS = 2.0  # between two looks at the nodes of the cluster
SMALLEST_PART = 1e-4  # of a resource: Ray counts in such parts


def jobs_on(nodes: Sequence[Node], bundle: Mapping[str, float]) -> int:
    """How many jobs that each take `bundle` the nodes have room for, when nothing else runs there."""
    return sum(
        min(int(node.get(name, 0) / amount + SMALLEST_PART) for name, amount in bundle.items()) for node in nodes
    )


def part_of_a_gpu(nodes: Sequence[Node], bundle: Mapping[str, float], n_jobs: int) -> float:
    """What each of `n_jobs` jobs may take of a GPU so that cores, not GPUs, bound how many run at once.

    0 unless all nodes with room for a job have a GPU, since such jobs would not run on the others. `bundle` is what a
    job takes besides.
    """
    rooms = [(min(jobs_on([node], bundle), n_jobs), node.get("GPU", 0)) for node in nodes]
    rooms = [(jobs, gpus) for jobs, gpus in rooms if jobs]
    if not rooms or not all(gpus for _, gpus in rooms):
        return 0.0
    shared_by = max(math.ceil(jobs / gpus) for jobs, gpus in rooms)
    return math.floor(1 / shared_by / SMALLEST_PART) * SMALLEST_PART


class Room:
    """The room of a cluster whose nodes come and go; `alive()` returns those that are there."""

    def __init__(self, bundle: Mapping[str, float], alive: Callable[[], Sequence[Node]]):
        self._bundle, self._alive = bundle, alive
        self._looked, self._jobs = -math.inf, 0

    def jobs(self) -> int:
        """How many jobs the cluster has room for."""
        if time.monotonic() - self._looked > LOOK_INTERVAL_SECONDS:
            self._looked, self._jobs = time.monotonic(), jobs_on(self._alive(), self._bundle)
        return self._jobs
