"""An actor's copy of the learner's networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sac.errors import UserError
from sac.nets import saving


class CopiedPolicy:
    """The variables of an agent that acting needs; with `judges` also those that a TD error needs."""

    def __init__(self, agent, judges: bool):
        self._variables = agent.acting_variables(judges)
        self.schema = {name: (tuple(v.shape), str(v.dtype)) for name, v in self._variables.items()}

    def take(self, weights: Mapping[str, np.ndarray]) -> None:
        """Raises UserError for weights of other networks."""
        if weights.keys() != self._variables.keys():
            raise UserError("the learner's networks have other weights: all roles need the same nn.py")
        saving.assign(self._variables, weights)
