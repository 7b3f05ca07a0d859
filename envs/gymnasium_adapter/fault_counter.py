"""Counts the steps with a NaN or an infinity of each agent and ends the run when they do not stop."""

from __future__ import annotations

import logging

import numpy as np

from sac.errors import UserError

log = logging.getLogger(__name__)

MAX_FAULTS_IN_A_ROW = 10  # without a good step in between


class FaultCounter:
    """One counter for each agent; `name` is the environment's name for messages."""

    def __init__(self, name: str, n_agents: int) -> None:
        self._name = name
        self._count = np.zeros(n_agents, int)
        self._any = False
        self.total = 0  # faults of all agents so far

    def reset(self, agents: np.ndarray) -> None:
        """Sets the counters of these agents (ids or a mask [n]) to zero, after a good step."""
        if self._any:
            self._count[agents] = 0
            self._any = bool(self._count.any())

    def add(self, agents: np.ndarray, reasons: dict[str, np.ndarray]) -> None:
        """Counts one fault of each of the agents [n] bool; `reasons` are {sensor or 'reward': [n] bool}.

        Raises UserError when an agent reaches the allowed number.
        """
        for agent in np.flatnonzero(agents):
            where = " and ".join(f"'{name}'" for name, rows in reasons.items() if rows[agent])
            self._any = True
            self.total += 1
            self._count[agent] += 1
            log.warning("%s, agent %d: NaN or infinity in %s; the step is refused", self._name, agent, where)
            if self._count[agent] >= MAX_FAULTS_IN_A_ROW:
                raise UserError(
                    f"'{self._name}', agent {agent}: NaN or infinity in {where}, {MAX_FAULTS_IN_A_ROW} times without a "
                    "good step in between; look into the environment"
                )
