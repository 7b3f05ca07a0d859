"""What a search may vary: `random_params` of the config, and sweeps that were typed as key=choice(...)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from sac.config.command_line import check_choice, is_free
from sac.config.distributions import Distribution, Normal, OneOf, UniformRange, keyed, parse
from sac.config.schema import field_of
from sac.config.validation import check_assignable, unknown_key
from sac.errors import UserError

NOT_HERE = {
    "repeat": "set hydra.sweeper.seeds_per_trial instead",
    "seed": "set hydra.sweeper.seeds_per_trial instead",
    "sac.seed": "set hydra.sweeper.seeds_per_trial instead",
    "base.name": "trials name their runs themselves",
    "base.models": "a search has one folder",
    "base.scene": "a search has one folder",
    "ckpt": "trials begin anew",
    "role": "a search trains",
}


TAIL = 0.001  # quantiles beyond are not drawn: samplers like corners, and a normal's are far out


@dataclass(frozen=True)
class Space:
    """Key -> distribution of its values."""

    distributions: dict[str, Distribution]

    @classmethod
    def of(cls, config: DictConfig, typed: Sequence[Override] = ()) -> Space:
        """Raises UserError for a key that does not exist or cannot be searched, or a value that it does not take."""
        forms = OmegaConf.to_container(config.get("random_params") or OmegaConf.create({}), resolve=True)
        forms = keyed(forms)
        forms |= {override.key_or_group: _form(override) for override in typed}
        if not forms:
            raise UserError(
                "there is nothing to search: give random_params in the sweep's file, or e.g. 'sac.n_step=choice(1,3)'"
            )
        return cls({name: _distribution(name, form, config) for name, form in forms.items()})

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """A value for each key. Optuna knows no normal distribution: there it searches for the quantile."""
        return {name: _suggest(trial, name, found) for name, found in self.distributions.items()}

    def spread(self, n: int, seed: int) -> list[dict[str, Any]]:
        """`n` draws, evenly spread over each key's distribution: a Latin hypercube."""
        rng = np.random.default_rng(seed)
        quantiles = {name: (rng.permutation(n) + rng.random(n)) / n for name in self.distributions}
        quantiles = {name: np.clip(found, TAIL, 1 - TAIL).tolist() for name, found in quantiles.items()}
        return [{name: d.at(quantiles[name][i]) for name, d in self.distributions.items()} for i in range(n)]

    def grid(self) -> list[dict[str, Any]]:
        """All combinations, as Optuna's parameters. Raises UserError for a key without a list of values."""
        for name, found in self.distributions.items():
            if not isinstance(found, OneOf):
                raise UserError(f"hydra.sweeper.sampler=grid: random_params.{name} has no list of values (in: [...])")
        columns = [[_category(value) for value in found.values] for found in self.distributions.values()]
        return [dict(zip(self.distributions, combination)) for combination in product(*columns)]

    def __str__(self) -> str:
        return "; ".join(f"{name}: {found}" for name, found in self.distributions.items())


def _form(override: Override) -> dict[str, Any]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return {"truncated": [value.start, value.end], "log": "log" in value.tags}
    if isinstance(value, ChoiceSweep | RangeSweep):
        return {"in": list(override.sweep_iterator())}
    raise UserError(f"{override.input_line}: a search takes choice(...), range(...) and interval(...)")


def _distribution(name: str, form: Any, config: DictConfig) -> Distribution:
    if name in NOT_HERE:
        raise UserError(f"random_params.{name}: it cannot be searched; {NOT_HERE[name]}")
    known = field_of(name)
    is_group = name in (OmegaConf.select(config, "hydra.runtime.choices") or ())
    if known is None and not (is_group or is_free(name, None)):
        raise UserError(unknown_key(name))
    whole = known is not None and known.type.startswith("int")
    found = parse(name, form, OmegaConf.select(config, name), whole)
    if is_group:
        _check_choices(name, found, config)
    if known is not None:
        values = found.values if isinstance(found, OneOf) else [found.at(q) for q in (TAIL, 1 - TAIL)]
        if isinstance(found, UniformRange):
            values = [found.low, found.high]
        for value in values:
            try:
                check_assignable(name, value)
            except UserError as error:
                more = "; add truncated: [low, high]" if isinstance(found, Normal) else ""
                raise UserError(f"random_params.{name}: {error}{more}") from error
    return found


def _check_choices(group: str, found: Distribution, config: DictConfig) -> None:
    """Raises UserError for a file that does not exist."""
    if not isinstance(found, OneOf):
        raise UserError(f"random_params.{group}: a file is chosen by {{in: [names]}}")
    sources = config.hydra.runtime.get("config_sources") or []
    folders = [Path(source.path) for source in sources if source.schema == "file"]
    for value in found.values:
        check_choice(group, value, *([folders] if folders else []))


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
            return found.at(trial.suggest_float(f"quantile of {name}", TAIL, 1 - TAIL))
    raise TypeError(found)


def _category(value: Any) -> Any:
    """What Optuna can store: lists and mappings by their text."""
    return json.dumps(value) if isinstance(value, list | dict) else value
