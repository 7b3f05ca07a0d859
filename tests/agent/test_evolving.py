"""Which variables of an agent an evolver reads and replaces."""

from __future__ import annotations

import numpy as np
import pytest

from sac.nets import saving
from sac.population.heritage import EvolvedNetworks
from tests.agent.agent_kit import SPECS, make_agent, windows


def learnt(seed=0, **options):
    agent = make_agent(SPECS["hybrid"], seed=seed, use_auto_alpha=True, **options)
    batch = windows(SPECS["hybrid"], 1, 8, steps=1, seed=seed)
    for _ in range(3):
        agent.update(batch)
    return agent, batch


@pytest.mark.parametrize("auto", [True, False])
def test_temperatures_evolve_where_they_are_learnt(auto):
    agent = make_agent(SPECS["continuous"], use_auto_alpha=auto)
    names = {name.partition("/")[0] for name in agent.evolving_variables()}
    assert {"policy", "critic_0", "critic_1", "target_critic_0"} <= names
    assert ("temperatures" in names) == auto and "normalizer" not in names
    assert not any(name.startswith("optimizer") for name in names)


def test_how_observations_look_does_not_evolve():
    """A normaliser's statistics are counted from rows; drawn at random around the elites', they would be wrong."""
    agent = make_agent(SPECS["continuous"], networks={"normalized": SPECS["continuous"].sensors})
    names = agent.evolving_variables()
    statistics = {id(weight) for weight in agent.nets.normalizer.weights}
    assert len(statistics) == 2 and not statistics & {id(variable) for variable in names.values()}
    evolved, before = EvolvedNetworks(agent, None), [np.array(weight) for weight in agent.nets.normalizer.weights]
    evolved.become({name: np.full_like(array, 0.5) for name, array in evolved.networks().items()})
    for weight, was in zip(agent.nets.normalizer.weights, before):
        np.testing.assert_array_equal(weight, was)
    plain = EvolvedNetworks(make_agent(SPECS["continuous"]), None)
    assert evolved.schema == plain.schema, "a learner that normalises evolves in what all others do"


@pytest.mark.slow
def test_one_becomes_what_the_other_is():
    (one, batch), (other, _) = learnt(0), learnt(1)
    evolved = EvolvedNetworks(one, None)
    assert evolved.schema.keys() == EvolvedNetworks(other, None).networks().keys()
    optimizers = {n: x.copy() for n, x in one.state()[0].items() if n.startswith("optimizer")}
    evolved.become(EvolvedNetworks(other, None).networks())
    for name, array in evolved.networks().items():
        np.testing.assert_array_equal(array, other.state()[0][name])
    for name, array in optimizers.items():
        np.testing.assert_array_equal(array, one.state()[0][name])
    assert np.isfinite(one.update(batch)[1].td_error).all(), "it learns on"


@pytest.mark.slow
def test_a_new_beginning_keeps_the_count_of_updates_only():
    agent, _ = learnt(0)
    before = int(np.asarray(agent.updates))
    EvolvedNetworks(agent, lambda number: make_agent(SPECS["hybrid"], seed=number, use_auto_alpha=True)).begin_anew(5)
    fresh = saving.arrays(make_agent(SPECS["hybrid"], seed=5, use_auto_alpha=True).variables.all())
    for name, array in agent.state()[0].items():
        if name != "updates":
            np.testing.assert_array_equal(array, fresh[name], err_msg=name)
    assert int(np.asarray(agent.updates)) == before > 0
