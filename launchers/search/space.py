"""How Optuna samples a parameter space, and how sweeps such as `key=choice(...)` add to one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import optuna
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from sac.config.distributions import TAIL_PROBABILITY, Distribution, Normal, OneOf, UniformRange
from sac.config.parameter_space import ParameterSpace
from sac.errors import UserError


def typed_forms(sweeps: Sequence[Override]) -> dict[str, dict[str, Any]]:
    """Key -> form of `random_params` for the sweeps of a command line. Raises UserError for a sweep without a form."""
    return {override.key_or_group: _form(override) for override in sweeps}


def _form(override: Override) -> dict[str, Any]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return {"truncated": [value.start, value.end], "log": "log" in value.tags}
    if isinstance(value, ChoiceSweep | RangeSweep):
        return {"in": list(override.sweep_iterator())}
    raise UserError(f"{override.input_line}: a search takes choice(...), range(...) and interval(...)")


def suggest(space: ParameterSpace, trial: optuna.Trial) -> dict[str, Any]:
    """Lets the study's sampler choose a value for each key.

    Optuna has no normal distribution; for one, the sampler chooses the quantile.
    """
    return {name: _suggest(trial, name, found) for name, found in space.distributions.items()}


def _suggest(trial: optuna.Trial, name: str, found: Distribution) -> Any:
    match found:
        case OneOf(values):
            named = {_category(value): value for value in values}
            return named[trial.suggest_categorical(name, list(named))]
        case UniformRange(low, high, log, True):
            return trial.suggest_int(name, int(low), int(high), log=log)
        case UniformRange(low, high, log):
            return trial.suggest_float(name, float(low), float(high), log=log)
        case Normal():
            return found.at(trial.suggest_float(f"quantile of {name}", TAIL_PROBABILITY, 1 - TAIL_PROBABILITY))
    raise TypeError(found)


def grid(space: ParameterSpace) -> list[dict[str, Any]]:
    """All combinations of values, as Optuna's parameters. Raises UserError for a key without a list of values."""
    columns = []
    for name, found in space.distributions.items():
        if not isinstance(found, OneOf):
            raise UserError(f"hydra.sweeper.sampler=grid: random_params.{name} has no list of values (in: [...])")
        columns.append([_category(value) for value in found.values])
    return [dict(zip(space.distributions, combination)) for combination in product(*columns)]


def _category(value: Any) -> Any:
    """A value that Optuna can store: lists and mappings become JSON text."""
    return json.dumps(value) if isinstance(value, list | dict) else value
