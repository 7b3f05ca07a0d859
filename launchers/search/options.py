"""The options of the Optuna sweeper: types and ranges. Their defaults are in conf/."""

# ruff: noqa: RUF009 - each call of key() makes a new dataclasses.field

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchers.search import study as studies
from launchers.search.study import StudySpec
from sac.config.keys import at_least, folder_name, key, one_of, positive
from sac.errors import UserError

DIRECTIONS = ("maximize", "minimize")
RESULT_NUMBERS = (  # of result.json
    "objective", "eval_return_mean", "eval_return_std", "eval_episodes", "env_steps", "updates", "episodes",
    "iterations", "seconds",
)  # fmt: skip


@dataclass
class SearchOptions:
    """The section hydra.sweeper; conf/hydra/sweeper/optuna.yaml says what each key means."""

    n_trials: int = at_least(1)
    study_name: str | None = folder_name()
    folder: str | None = key()
    storage: str | None = key()
    objectives: dict[str, Any] | None = key(
        f"of some of {', '.join(RESULT_NUMBERS)}, each to maximize or minimize,",
        lambda goals: goals and set(goals) <= set(RESULT_NUMBERS) and set(goals.values()) <= set(DIRECTIONS),
    )
    sampler: str = one_of(*studies.SAMPLERS)
    sampler_kwargs: dict[str, Any] = key()
    pruner: str = one_of(*studies.PRUNERS)
    pruner_kwargs: dict[str, Any] = key()
    seeds_per_trial: int = at_least(1)
    seed: int = at_least(0)
    minutes: float | None = positive()

    @property
    def goals(self) -> dict[str, str]:
        """Objective -> maximize or minimize."""
        return dict(self.objectives or {"objective": "maximize"})

    @property
    def compares_returns(self) -> bool:
        """Whether evaluation returns estimate the only objective; else they are not reported to the study."""
        return set(self.goals) == {"objective"}

    def spec(self, folder: Path, per_step: int, max_step: int) -> StudySpec:
        """The study in `folder`, for evaluations every `per_step` of `max_step` environment steps.

        Raises UserError for a pruner that would have nothing to compare.
        """
        if self.pruner != "none" and not self.compares_returns:
            raise UserError(
                f"hydra.sweeper.pruner={self.pruner} compares evaluation returns: its only objective is `objective`"
            )
        if self.pruner == "hyperband" and max_step < per_step:
            raise UserError("hydra.sweeper.pruner=hyperband divides base.max_step: it must be at least eval.per_step")
        assert self.study_name is not None  # Sweep has chosen one
        if self.storage is None:
            storage = studies.sqlite(folder)
        else:
            storage = studies.journal(folder) if self.storage == "journal" else self.storage
        return StudySpec(
            self.study_name, storage, list(self.goals.values()), self.sampler, dict(self.sampler_kwargs),
            self.pruner, dict(self.pruner_kwargs), self.seed, (per_step, max_step),
        )  # fmt: skip
