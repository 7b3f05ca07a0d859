"""The options of our launchers and our sweeper, checked like every other key. No defaults here: they stand in conf/."""

# ruff: noqa: RUF009 - a key() is a fresh dataclasses.field each time

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launchers import study as studies
from launchers.study import StudySpec
from sac.config import at_least, folder_name, key, one_of, positive
from sac.errors import UserError
from sac.validation import checked

GOALS = ("maximize", "minimize")
NUMBERS = (  # of result.json, see Training.result
    "objective", "eval_return_mean", "eval_return_std", "eval_episodes", "env_steps", "updates", "episodes",
    "iterations", "seconds",
)  # fmt: skip


@dataclass
class ProcessOptions:
    """hydra.launcher, see conf/hydra/launcher/processes.yaml."""

    n_jobs: int | None = at_least(1)
    gpus: list[Any] | None = key()
    grace: float = at_least(0)


@dataclass
class RoleOptions:
    """hydra.launcher, see conf/hydra/launcher/roles.yaml."""

    actors: int = at_least(1)
    learners: int = at_least(1)
    n_jobs: int = at_least(1)
    gpus: list[Any] | None = key()
    grace: float = at_least(0)
    actor_timeout: float = at_least(10)
    learner_threads: int | None = at_least(1)
    actor_threads: int = at_least(1)


def _matching(words: str, pattern: str) -> Any:
    return key(words, lambda x: re.fullmatch(pattern, x) is not None)


def _dns_name() -> Any:
    return _matching("a DNS name of a-z 0-9 -", r"(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def _cores() -> Any:
    return _matching("an amount of cores above 0, e.g. 2, 0.5 or 500m,", r"(?=.*[1-9])\d+(\.\d{1,3}|m)?")


def _bytes() -> Any:
    return _matching("an amount of bytes above 0, e.g. 4Gi or 500M,", r"(?=.*[1-9])\d+(\.\d+)?([kMGTPE]|[KMGTPE]i)?")


@dataclass
class KubernetesOptions:
    """hydra.launcher, see conf/hydra/launcher/kubernetes.yaml."""

    image: str = _matching("the name of an image", r"[\w./:@-]+")
    command: list[str] = key("the words of a command", lambda words: len(words) > 0)
    namespace: str | None = _dns_name()
    actors: int = at_least(1)
    secret: str = _dns_name()
    env_secret: str | None = _dns_name()
    grace: int = at_least(1)
    replay_cpu: str = _cores()
    replay_memory: str = _bytes()
    replay_storage: str = _bytes()
    learner_cpu: str = _cores()
    learner_memory: str = _bytes()
    learner_storage: str = _bytes()
    learner_gpus: int = at_least(0)
    gpu_resource: str = _matching("the name of a resource, e.g. nvidia.com/gpu,", r"[a-z0-9.-]+/[\w.-]+")
    actor_cpu: str = _cores()
    actor_memory: str = _bytes()
    storage_class: str | None = _matching("the name of a storage class", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")

    def amounts(self, role: str) -> dict[str, str]:
        """What a role's container gets."""
        found = {"cpu": getattr(self, f"{role}_cpu"), "memory": getattr(self, f"{role}_memory")}
        gpus = self.learner_gpus if role == "learner" else 0
        return found | ({self.gpu_resource: str(gpus)} if gpus else {})

    def storage(self, role: str) -> str:
        return getattr(self, f"{role}_storage")

    def threads(self, role: str) -> int:
        """As many as there are whole cores, at least one."""
        cores = getattr(self, f"{role}_cpu")
        return max(1, int(cores[:-1]) // 1000 if cores.endswith("m") else int(float(cores)))


@dataclass
class Resources:
    """What Ray reserves for one process; `num_gpus` None: one where the cluster has any."""

    num_cpus: float = positive()
    num_gpus: float | None = at_least(0)
    custom: dict[str, Any] | None = key(
        "of names to numbers above 0",
        lambda custom: all(isinstance(n, int | float) and n > 0 for n in custom.values()),
    )

    def bundle(self, has_gpus: bool) -> dict[str, float]:
        """As Ray names them."""
        gpus = float(has_gpus) if self.num_gpus is None else self.num_gpus
        return {"CPU": self.num_cpus} | ({"GPU": gpus} if gpus else {}) | (self.custom or {})

    @property
    def threads(self) -> int:
        return max(int(self.num_cpus), 1)


@dataclass
class RayOptions:
    """hydra.launcher, see conf/hydra/launcher/ray_roles.yaml. Raises UserError for resources that make no sense."""

    address: str | None = key()
    actors: int = at_least(1)
    n_jobs: int = at_least(1)
    placement: str = one_of("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
    grace: float = at_least(0)
    actor_timeout: float = at_least(10)
    resources: dict[str, Any] = key("of resources for each role")
    restarts: dict[str, Any] = key(
        "of whole numbers for each role, -1 without end,",
        lambda restarts: all(type(n) is int and n >= -1 for n in restarts.values()),
    )

    def __post_init__(self):
        self.resources = {
            role: checked(Resources, own, f"hydra.launcher.resources.{role}.") for role, own in self.resources.items()
        }


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
