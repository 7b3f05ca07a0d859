"""Counts unusable values (NaN, infinity) of each agent and ends the run when they do not stop."""

from __future__ import annotations

import logging

import numpy as np

from sac.errors import UserError

log = logging.getLogger(__name__)

PATIENCE = 10  # in a row, without a good step in between


class FaultCounter:
    """One counter an agent; `name` is the environment's, for the messages."""

    def __init__(self, name: str, n_agents: int) -> None:
        self._name = name
        self._count = np.zeros(n_agents, int)
        self._any = False

    def reset(self, agents: np.ndarray) -> None:
        """A good step of these agents (ids or a mask)."""
        if self._any:
            self._count[agents] = 0
            self._any = bool(self._count.any())

    def add(self, who: np.ndarray, reasons: dict[str, np.ndarray]) -> None:
        """One more for each agent of `who` [n] bool; `reasons`: {sensor or 'reward': [n] bool}. Raises UserError."""
        for agent in np.flatnonzero(who):
            where = " and ".join(f"'{name}'" for name, rows in reasons.items() if rows[agent])
            self._any = True
            self._count[agent] += 1
            log.warning("%s, agent %d: NaN or infinity in %s; the step is refused", self._name, agent, where)
            if self._count[agent] >= PATIENCE:
                raise UserError(
                    f"'{self._name}', agent {agent}: NaN or infinity in {where}, {PATIENCE} times without a good step "
                    "in between; look into the environment"
                )
