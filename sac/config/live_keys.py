"""The keys of `random_params` that an evolver moves while learners train (base.evolver_strategy=pbt)."""

from __future__ import annotations

import math
from typing import Any

from sac.config.distributions import Distribution, OneOf, ends, keyed, parse
from sac.config.schema import EVOLVER, LEARNING_ROLES, field_of
from sac.errors import UserError

LIVE_KEYS = (
    "sac.learning_rate", "sac.gamma", "sac.tau", "sac.n_step", "sac.v_lambda", "sac.init_log_alpha",
    "sac.target_entropy_ratio",
)  # fmt: skip
RANGES_OF_CMAES = 2  # the fewest between which it can find a correlation
MEASUREMENTS_OF_PBT = 2  # of each learner in a generation, the fewest that have a standard error


def live_distributions(config: Any) -> dict[str, Distribution]:
    """Key -> distribution of what the evolver moves; nothing where it moves nothing.

    `config` has attributes or items as Config has. Raises UserError for a key that cannot change while a learner
    trains, and for one that would change nothing.
    """
    base, s = config.base, config.sac
    if not (base.evolver_enabled or config.role == EVOLVER) or base.evolver_strategy != "pbt":
        return {}
    forms = keyed(dict(config.random_params))
    for name in forms:
        if name not in LIVE_KEYS:
            raise UserError(
                f"random_params.{name}: base.evolver_strategy=pbt cannot move it while a learner trains; it moves "
                f"{', '.join(LIVE_KEYS)}. With base.evolver_strategy=none or cem each learner keeps what it has drawn"
            )
    if "sac.init_log_alpha" in forms and s.use_auto_alpha:
        raise UserError(
            "random_params.sac.init_log_alpha: a learned temperature leaves its first value: set "
            "sac.use_auto_alpha=false, or leave this key out"
        )
    found = {name: _parsed(name, form, getattr(s, name.removeprefix("sac."))) for name, form in forms.items()}
    if _highest(found.get("sac.n_step")) == math.inf:
        raise UserError("random_params.sac.n_step: windows of the replay need a bound: add truncated: [low, high]")
    for name, distribution in found.items():
        for value in ends(distribution):
            if not isinstance(value, int | float) or not is_allowed(name, value):
                field = field_of(name)
                assert field is not None
                raise UserError(
                    f"random_params.{name}: it may become {value}, allowed is a number {field.metadata['allowed']}"
                )
    return found


def is_allowed(name: str, value: float) -> bool:
    """Whether the key takes this value."""
    field = field_of(name)
    assert field is not None
    check = field.metadata["check"]
    return check is None or check(value)


def check_evolution(config: Any) -> None:
    """Raises UserError where the learners of a population could not be compared, or not evolve as they should."""
    base, found = config.base, live_distributions(config)
    learns = config.role in LEARNING_ROLES and base.evolver_enabled
    if learns and base.evolver_fitness == "evaluation" and config.eval.per_step < 1:
        raise UserError(
            f"eval.per_step={config.eval.per_step}: the evolver compares evaluations: set a number of steps, or "
            "base.evolver_fitness=training"
        )
    if not (base.evolver_enabled or config.role == EVOLVER) or base.evolver_strategy != "pbt":
        return
    ranges = [name for name, distribution in found.items() if not isinstance(distribution, OneOf)]
    if base.evolver_explore == "cmaes" and found and len(ranges) < RANGES_OF_CMAES:
        raise UserError(
            f"base.evolver_explore=cmaes: it needs at least {RANGES_OF_CMAES} ranges in random_params, which has "
            f"{len(ranges)} (choices by `in` are none): use base.evolver_explore=tpe"
        )
    for name in ("evolver_cem_length", "evolver_cem_min_length"):
        if getattr(base, name) < MEASUREMENTS_OF_PBT:
            raise UserError(
                f"base.{name}={getattr(base, name)}: base.evolver_strategy=pbt needs at least {MEASUREMENTS_OF_PBT} "
                "measurements of each learner, which tell by how much they vary: set that, or another strategy"
            )


def longest_n_step(config: Any) -> int:
    """The most steps that a return will have in this run. Raises UserError as `live_distributions`."""
    moved = live_distributions(config).get("sac.n_step")
    return config.sac.n_step if moved is None else max(config.sac.n_step, int(_highest(moved)))


def _parsed(name: str, form: Any, configured: Any) -> Distribution:
    field = field_of(name)
    assert field is not None
    return parse(name, form, configured, str(field.type).startswith("int"))


def _highest(distribution: Distribution | None) -> float:
    match distribution:
        case None:
            return -math.inf
        case OneOf(values):
            return max(values)
        case _:
            return distribution.high
