"""The options of the launchers `roles` and `population`: types and ranges. Their defaults are in conf/."""

# ruff: noqa: RUF009 - each call of key() makes a new dataclasses.field

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sac.config.keys import at_least, key


@dataclass
class PopulationOptions:
    """The section hydra.launcher; conf/hydra/launcher/population.yaml says what each key means."""

    learners: int = at_least(2)
    n_jobs: int = at_least(1)
    gpus: list[Any] | None = key()
    grace: float = at_least(0)
    threads: int | None = at_least(1)


@dataclass
class RoleOptions:
    """The section hydra.launcher; conf/hydra/launcher/roles.yaml says what each key means."""

    actors: int = at_least(1)
    learners: int = at_least(1)
    n_jobs: int = at_least(1)
    gpus: list[Any] | None = key()
    grace: float = at_least(0)
    actor_timeout: float = at_least(10)
    learner_threads: int | None = at_least(1)
    actor_threads: int = at_least(1)
