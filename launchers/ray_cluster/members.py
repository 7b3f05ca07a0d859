"""The cells of one job and its evolver, on the nodes on which Ray has placed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from launchers.cells.members import Members
from launchers.cells.process import Process
from launchers.jobs.job import Job
from launchers.jobs.resources import Share
from launchers.ray_cluster.cell import RayCell, make_keys
from launchers.ray_cluster.cell_replica import CellReplica, Network
from launchers.ray_cluster.job import Places, policy_of
from launchers.ray_cluster.options import RayCellOptions
from sac.config.schema import EVOLVER


class RayMembers(Members):
    """Makes cells and their evolver; all have the same new keys, since a learner connects to its cell and the evolver.

    Without `several_machines` all stay on this machine and have no keys.
    """

    def __init__(self, share: Share, roles: Sequence[str], options: RayCellOptions, several_machines: bool):
        self._share, self._roles, self._options = share, roles, options
        self._keys = make_keys() if several_machines else None
        self._cells: list[RayCell] = []

    def cell(self, job: Job, number: int) -> RayCell:
        self._cells.append(RayCell(job, self._share, self._roles, self._options, self._keys, number))
        return self._cells[-1]

    def evolver(self, job: Job, share: Share) -> Process:
        """The evolver of the cells that have been made; each of its starts is in a Ray actor of its own."""
        own, restarts = self._options.resources[EVOLVER], self._options.restarts[EVOLVER]
        spaces = [cell.space for cell in self._cells]
        places = Places(own.bundle(0.0), CellReplica, (spaces, Network(self._keys)))
        share = replace(share, threads=own.threads)
        return Process(EVOLVER, job, share, start=places.start, policy=policy_of(restarts))
