"""Hyperparameters proposed by a study of Optuna, in which each learner's generation is a trial."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sac.config.distributions import TAIL_PROBABILITY, Distribution, Normal, OneOf
from sac.population.pbt import Observation

if TYPE_CHECKING:
    import optuna

TRIALS_OF_CMAES = 20  # from which it learns where good values lie: the best tenth has two then


class Proposals:
    """Proposes values by a sampler of Optuna (see Explore) that is told how the learners have done with theirs.

    The study is made anew from the observations at each call: nothing is lost when the evolver is killed. A copy whose
    numbers it chooses does not go on from those of the winner. `cmaes` draws from the normal distribution of the best
    tenth of the observations, with which CMA-ES begins where others have searched before (Nomura et al.,
    arXiv:2012.06932, section 3); until there are that many, from the middle of the ranges, and choices at random.
    """

    def __init__(self, distributions: Mapping[str, Distribution], sampler: str):
        self._distributions, self._sampler = dict(sorted(distributions.items())), sampler

    def __call__(
        self, numbers: Mapping[str, float], observed: Sequence[Observation], random: np.random.Generator
    ) -> dict[str, float]:
        """Values for the next trial; none where there is nothing to vary."""
        import optuna

        if not self._distributions:
            return {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        spaces = {name: _space(found) for name, found in self._distributions.items()}
        with warnings.catch_warnings():  # samplers that are experimental, values at a bound
            warnings.simplefilter("ignore")
            known = [one for one in observed if one.numbers.keys() == spaces.keys()]
            sampler = self._make_sampler(int(random.integers(2**31)), known, spaces)
            study = optuna.create_study(direction="maximize", sampler=sampler)
            study.add_trials([_trial(one, spaces) for one in known])
            return {name: float(value) for name, value in study.ask(spaces).params.items()}

    def _make_sampler(
        self, seed: int, known: Sequence[Observation], spaces: Mapping[str, optuna.distributions.BaseDistribution]
    ) -> optuna.samplers.BaseSampler:
        import optuna
        from optuna.distributions import CategoricalDistribution

        if self._sampler == "cmaes":
            ranges = {name: one for name, one in spaces.items() if not isinstance(one, CategoricalDistribution)}
            trials = [_trial(one, ranges) for one in known] if len(known) >= TRIALS_OF_CMAES else None
            return optuna.samplers.CmaEsSampler(seed=seed, source_trials=trials, warn_independent_sampling=False)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, warn_independent_sampling=False)


def _space(found: Distribution) -> optuna.distributions.BaseDistribution:
    """The distribution as Optuna has it; a normal one becomes the range in which nearly all of it lies."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(found, OneOf):
        return CategoricalDistribution([float(value) for value in found.values])
    if isinstance(found, Normal):
        low, high = found.at(TAIL_PROBABILITY), found.at(1 - TAIL_PROBABILITY)
        return IntDistribution(int(low), int(high)) if found.whole else FloatDistribution(low, high)
    if found.whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)


def _trial(
    one: Observation, spaces: Mapping[str, optuna.distributions.BaseDistribution]
) -> optuna.trial.FrozenTrial:  # fmt: skip
    """A finished trial; a number that lies outside its space by a rounding is taken to the bound."""
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import create_trial

    params = {}
    for name, space in spaces.items():
        value = one.numbers[name]
        if isinstance(space, CategoricalDistribution):
            params[name] = min(space.choices, key=lambda choice: abs(float(choice or 0) - value))
        else:
            params[name] = min(max(value, space.low), space.high)  # type: ignore[attr-defined]  # of both others
    return create_trial(params=params, distributions=dict(spaces), value=one.advantage)
