"""The distributions of all keys in `random_params`, checked against the rest of the config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from sac.config.command_line import check_choice, is_free
from sac.config.distributions import TAIL_PROBABILITY, Distribution, Normal, OneOf, ends, keyed, parse
from sac.config.schema import field_of
from sac.config.validation import check_assignable, unknown_key
from sac.errors import UserError

NOT_SEARCHABLE = {  # key -> advice that the error message gives
    "repeat": "set hydra.sweeper.seeds_per_trial instead",
    "seed": "set hydra.sweeper.seeds_per_trial instead",
    "sac.seed": "set hydra.sweeper.seeds_per_trial instead",
    "base.name": "trials name their runs themselves",
    "base.models": "a search has one folder",
    "base.scene": "a search has one folder",
    "ckpt": "trials begin anew",
    "role": "a search trains",
}


@dataclass(frozen=True)
class ParameterSpace:
    """Key of the config -> distribution of its values."""

    distributions: dict[str, Distribution]

    @classmethod
    def of(cls, config: DictConfig, typed: Mapping[str, Any] | None = None) -> ParameterSpace:
        """The space of `random_params`, to which `typed` adds forms by key; a typed form replaces one of the config.

        Raises UserError for a key that does not exist, a key that must not vary, or a value that a key does not take.
        """
        configured = OmegaConf.to_container(config.get("random_params") or OmegaConf.create({}), resolve=True)
        assert isinstance(configured, dict)
        forms = {**keyed({str(name): form for name, form in configured.items()}), **(typed or {})}
        if not forms:
            raise UserError(
                "there is nothing to search: give random_params in the sweep's file, or e.g. 'sac.n_step=choice(1,3)'"
            )
        return cls({name: _distribution(name, form, config) for name, form in forms.items()})

    def spread(self, n: int, seed: int) -> list[dict[str, Any]]:
        """`n` draws, evenly spread over each key's distribution: a Latin hypercube."""
        rng = np.random.default_rng(seed)
        quantiles = {name: (rng.permutation(n) + rng.random(n)) / n for name in self.distributions}
        inner = {
            name: np.clip(found, TAIL_PROBABILITY, 1 - TAIL_PROBABILITY).tolist() for name, found in quantiles.items()
        }
        return [{name: d.at(inner[name][i]) for name, d in self.distributions.items()} for i in range(n)]

    def __str__(self) -> str:
        """The text that a study stores, to refuse a later call that would search another space."""
        return "; ".join(f"{name}: {found}" for name, found in self.distributions.items())


def _distribution(name: str, form: Any, config: DictConfig) -> Distribution:
    if name in NOT_SEARCHABLE:
        raise UserError(f"random_params.{name}: it cannot be searched; {NOT_SEARCHABLE[name]}")
    known = field_of(name)
    is_group = name in (OmegaConf.select(config, "hydra.runtime.choices") or ())
    if known is None and not (is_group or is_free(name, None)):
        raise UserError(unknown_key(name))
    whole = known is not None and str(known.type).startswith("int")
    found = parse(name, form, OmegaConf.select(config, name), whole)
    if is_group:
        _check_choices(name, found, config)
    if known is not None:
        _check_values(name, found)
    return found


def _check_choices(group: str, found: Distribution, config: DictConfig) -> None:
    """Raises UserError for a file that does not exist."""
    if not isinstance(found, OneOf):
        raise UserError(f"random_params.{group}: a file is chosen by {{in: [names]}}")
    sources = config.hydra.runtime.get("config_sources") or []
    folders = [Path(source.path) for source in sources if source.schema == "file"]
    for value in found.values:
        check_choice(group, value, *([folders] if folders else []))


def _check_values(name: str, found: Distribution) -> None:
    """Raises UserError when the key does not take the values at the ends of its distribution."""
    for value in ends(found):
        try:
            check_assignable(name, value)
        except UserError as error:
            advice = "; add truncated: [low, high]" if isinstance(found, Normal) else ""
            raise UserError(f"random_params.{name}: {error}{advice}") from error
