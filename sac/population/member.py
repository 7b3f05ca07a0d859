"""What the evolver knows of a learner."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Member:
    """A learner. The changes of its networks are numbered 1, 2, ...; `assigned` is the latest number."""

    scores: list[float] = field(default_factory=list)  # mean returns of its present networks, the newest last
    step: int = -1  # of the newest evaluation
    recent: list[float] = field(default_factory=list)  # like `scores`, with those of the networks that it is a copy of
    latest: float | None = None  # newest mean return, also of former networks; at a generation that of all `scores`
    selected: int = 0  # how often it was selected since the counts were reset
    assigned: int = 0
    fresh: bool = False  # the latest change is a fresh beginning, without networks from here
    ended: bool = False  # its run is over
    numbers: dict[str, float] = field(default_factory=dict)  # its hyperparameters that may change, by key

    def forget_measurements(self) -> None:
        """Its networks are others than those that were measured."""
        self.scores, self.recent, self.step = [], [], -1

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else -math.inf
