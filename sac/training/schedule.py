"""What the training loop is told: when it ends and saves, and where its numbers go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """When a run ends, and how often it reports and saves."""

    max_steps: int  # transitions of all agents; without a limit: 0 or less
    max_iterations: int  # without a limit: 0 or less
    stop_return: float | None  # mean evaluation return at which the task counts as solved
    summary_updates: int  # updates between two summaries
    checkpoint_updates: int  # updates between two checkpoints ...
    checkpoint_minutes: float  # ... or minutes, whichever comes first
    shares_environment: bool  # evaluation plays in the training's environment, hence between iterations only


class Recorder(Protocol):
    """Takes the numbers and pictures of a run; the Tracker is one."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...
    def progress(self, step: int, updates: int) -> None: ...
    def images(self, values: Mapping[str, np.ndarray], step: int) -> None: ...
