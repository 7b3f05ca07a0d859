"""The options of the launchers `ray` and `ray_roles`: types and ranges. Their defaults are in conf/."""

# ruff: noqa: RUF009 - each call of key() makes a new dataclasses.field

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sac.config.keys import at_least, key, one_of, positive
from sac.config.validation import checked


@dataclass
class Resources:
    """What Ray reserves for one process; what `num_gpus` None means is up to the launcher."""

    num_cpus: float = positive()
    num_gpus: float | None = key(
        "of at least 0, whole where above 1,", lambda n: n >= 0 and (n <= 1 or float(n).is_integer())
    )
    custom: dict[str, Any] | None = key(
        "of names other than CPU and GPU to numbers above 0",
        lambda custom: all(
            name not in ("CPU", "GPU") and isinstance(n, int | float) and n > 0 for name, n in custom.items()
        ),
    )

    def bundle(self, default_gpus: float) -> dict[str, float]:
        """The resources under the names that Ray gives them; `default_gpus` where `num_gpus` is None."""
        gpus = default_gpus if self.num_gpus is None else self.num_gpus
        return {"CPU": self.num_cpus} | ({"GPU": gpus} if gpus else {}) | (self.custom or {})

    @property
    def threads(self) -> int:
        return max(int(self.num_cpus), 1)


@dataclass
class RayJobOptions(Resources):
    """The section hydra.launcher; conf/hydra/launcher/ray.yaml says what each key means."""

    address: str | None = key()
    n_jobs: int | None = at_least(1)
    grace: float = at_least(0)
    restarts: int = at_least(-1)


@dataclass
class RayCellOptions:
    """The section hydra.launcher; conf/hydra/launcher/ray_roles.yaml says what each key means.

    Raises UserError for invalid resources.
    """

    address: str | None = key()
    actors: int = at_least(1)
    learners: int = at_least(1)
    n_jobs: int = at_least(1)
    placement: str = one_of("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
    grace: float = at_least(0)
    actor_timeout: float = at_least(10)
    resources: dict[str, Any] = key("of resources for each role")
    restarts: dict[str, Any] = key(
        "of whole numbers for each role, -1 without end,",
        lambda restarts: all(type(n) is int and n >= -1 for n in restarts.values()),
    )

    def __post_init__(self) -> None:
        self.resources = {
            role: checked(Resources, own, f"hydra.launcher.resources.{role}.") for role, own in self.resources.items()
        }
