"""Hyperparameters that a study of Optuna proposes: within their space, better with what is observed, repeatable."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sac.config.distributions import Normal, OneOf, UniformRange
from sac.population.evolution import Evolution, Rules
from sac.population.numbers import as_arrays, of_arrays
from sac.population.pbt import Observation, Pbt
from sac.population.proposals import Proposals

SPACE = {
    "sac.learning_rate": UniformRange(1e-5, 1e-1, log=True), "sac.n_step": OneOf((1, 3, 5)),
    "sac.tau": Normal(0.005, 0.001, low=0.001),
}  # fmt: skip


def score(numbers) -> float:
    """Best at a learning rate of 1e-3 and 3 steps."""
    return -abs(math.log10(numbers["sac.learning_rate"]) + 3) - abs(numbers["sac.n_step"] - 3)


def sequence(sampler: str, n: int, seed: int = 0) -> list[dict]:
    propose, observed = Proposals(SPACE, sampler), []
    for i in range(n):
        numbers = propose({}, observed, np.random.default_rng([seed, i]))
        observed.append(Observation(numbers, score(numbers)))
    return [one.numbers for one in observed]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_proposals_lie_within_their_space_and_get_better(sampler):
    found = sequence(sampler, 60)
    assert all(1e-5 <= one["sac.learning_rate"] <= 1e-1 for one in found)
    assert {one["sac.n_step"] for one in found} == {1.0, 3.0, 5.0}
    assert all(0.001 <= one["sac.tau"] < 0.0085 for one in found)
    early, late = (np.mean([abs(math.log10(one["sac.learning_rate"]) + 3) for one in part])
                   for part in (found[:20], found[40:]))  # fmt: skip
    assert late < 0.8 * early


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
@pytest.mark.parametrize("goal", [-4.5, -1.5])  # far from the middle of the range, where CMA-ES begins
def test_proposals_lie_where_the_observed_were_good(sampler, goal):
    random = np.random.default_rng(1)
    tried = [{name: one.at(random.uniform(0.01, 0.99)) for name, one in SPACE.items()} for _ in range(40)]
    observed = [Observation(one, -abs(math.log10(one["sac.learning_rate"]) - goal)) for one in tried]
    found = [Proposals(SPACE, sampler)({}, observed, np.random.default_rng(seed)) for seed in range(8)]
    assert np.median([math.log10(one["sac.learning_rate"]) for one in found]) == pytest.approx(goal, abs=0.6)


def test_the_same_observations_and_numbers_give_the_same_proposal():
    assert sequence("tpe", 3) == sequence("tpe", 3) != sequence("tpe", 3, seed=1)


def test_numbers_beside_their_space_are_taken_to_its_bounds():
    beside = {"sac.learning_rate": 1.0000001e-1, "sac.n_step": 2.99999, "sac.tau": 0.0}
    found = Proposals(SPACE, "tpe")({}, [Observation(beside, 1.0)] * 12, np.random.default_rng(0))
    assert found.keys() == SPACE.keys()
    other = Observation({"sac.gamma": 0.9}, 5.0)  # of a population that varied something else
    assert Proposals(SPACE, "tpe")({}, [other], np.random.default_rng(0)).keys() == SPACE.keys()
    assert Proposals({}, "tpe")({}, [other], np.random.default_rng(0)) == {}


def test_what_was_observed_is_saved_with_the_population():
    given = []

    def remembers(numbers, observed, random):
        given.append(list(observed))
        return {"sac.tau": 0.5}

    one, other = (Evolution(Rules(2, 2, 1e9), Pbt(0.25, remembers), 3) for _ in "12")
    for name, value in zip("ab", (0.0, 10.0)):
        one.join(name)
        one.members[name].numbers = {"sac.tau": value}
        for step in (1, 2):
            one.evaluated(name, 0, step, value + step)
    become = one.evolve({"b": as_arrays({"sac.tau": 10.0})}, one.members)
    assert of_arrays(become["a"]) == {"sac.tau": 0.5}
    assert given == [[Observation({"sac.tau": 0.0}, -5.0), Observation({"sac.tau": 10.0}, 5.0)]]
    other.restore(one.state(), {name: np.array(x) for name, x in one.strategy.arrays().items()}, one.lineage)
    other.diverged("b")
    assert given[1] == given[0]
