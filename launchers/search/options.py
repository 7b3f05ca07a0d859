"""The options of our sweeper, checked like every other key; their defaults stand in conf/."""

# ruff: noqa: RUF009 - a key() is a fresh dataclasses.field each time

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchers.search import study as studies
from launchers.search.study import StudySpec
from sac.config.schema import at_least, folder_name, key, one_of, positive
from sac.errors import UserError

GOALS = ("maximize", "minimize")
NUMBERS = (  # of result.json, see Training.result
    "objective", "eval_return_mean", "eval_return_std", "eval_episodes", "env_steps", "updates", "episodes",
    "iterations", "seconds",
)  # fmt: skip


@dataclass
class SearchOptions:
    """hydra.sweeper, see conf/hydra/sweeper/optuna.yaml."""

    n_trials: int = at_least(1)
    study_name: str | None = folder_name()
    folder: str | None = key()
    storage: str | None = key()
    objectives: dict[str, Any] | None = key(
        f"of some of {', '.join(NUMBERS)}, each to maximize or minimize,",
        lambda goals: goals and set(goals) <= set(NUMBERS) and set(goals.values()) <= set(GOALS),
    )
    sampler: str = one_of(*studies.SAMPLERS)
    sampler_kwargs: dict[str, Any] = key()
    pruner: str = one_of(*studies.PRUNERS)
    pruner_kwargs: dict[str, Any] = key()
    seeds_per_trial: int = at_least(1)
    seed: int = at_least(0)
    minutes: float | None = positive()

    def __post_init__(self):
        self.objectives = self.objectives or {"objective": "maximize"}

    @property
    def compares_returns(self) -> bool:
        """Whether evaluations tell of the one objective; else they are not reported."""
        return set(self.objectives) == {"objective"}

    def spec(self, folder: Path, per_step: int, max_step: int) -> StudySpec:
        """Raises UserError for a pruner that could compare nothing."""
        if self.pruner != "none" and not self.compares_returns:
            raise UserError(
                f"hydra.sweeper.pruner={self.pruner} compares evaluation returns: its only objective is `objective`"
            )
        if self.pruner == "hyperband" and max_step < per_step:
            raise UserError("hydra.sweeper.pruner=hyperband divides base.max_step: it must be at least eval.per_step")
        storage = {None: studies.sqlite(folder), "journal": studies.journal(folder)}.get(self.storage, self.storage)
        return StudySpec(
            self.study_name, storage, list(self.objectives.values()), self.sampler, dict(self.sampler_kwargs),
            self.pruner, dict(self.pruner_kwargs), self.seed, (per_step, max_step),
        )  # fmt: skip
