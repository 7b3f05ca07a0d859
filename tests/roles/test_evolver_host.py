"""Whom an evolver takes as its learners, and how learners with the same start differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from sac import assemble
from sac.config.validation import validated
from sac.errors import UserError
from sac.population.heritage import COUNT
from sac.roles.evolver import EvolverHost
from sac.types import Sensor, Spec
from sac.wire.handshake import Description

CONF = str(Path(__file__).parents[2] / "conf")
ALONE = {"policy/0": [[3], "float32"]}
EVERYTHING = {**ALONE, COUNT: [[], "int64"]}


def config_of(*words: str):
    with initialize_config_dir(CONF, version_base="1.3"):
        composed = compose("config", ["env=gym/pendulum", "base.env=gym/pendulum", "base.name=pop", *words])
    return validated(composed)


@pytest.mark.parametrize(
    ("words", "fits", "other"),
    [
        (["base.evolver_strategy=cem"], ALONE, EVERYTHING),
        (["base.evolver_strategy=cem", "base.evolver_shared_start=true"], EVERYTHING, ALONE),
        (["base.evolver_strategy=pbt"], EVERYTHING, ALONE),
    ],
)
def test_learners_of_another_strategy_are_refused(tmp_path, words, fits, other):
    host = EvolverHost(config_of("role=evolver", *words), tmp_path)
    host.store.describe(Description({"networks": fits}, {}))
    assert host.known_description() is not None
    host.store.describe(Description({"networks": other}, {}))
    with pytest.raises(UserError, match="cannot go on: its learners give"):
        host.known_description()


def test_learners_that_vary_other_hyperparameters_are_refused(tmp_path):
    host = EvolverHost(config_of("role=evolver", "+random_params={sac.tau: {truncated: [0.001, 0.01]}}"), tmp_path)
    host.store.describe(Description({"networks": {**EVERYTHING, "numbers/sac.tau": [[], "float64"]}}, {}))
    assert host.known_description() is not None
    host.store.describe(Description({"networks": {**EVERYTHING, "numbers/sac.gamma": [[], "float64"]}}, {}))
    with pytest.raises(UserError, match=r"learners vary sac\.gamma, and the evolver sac\.tau: .*same random_params"):
        host.known_description()


SHARED = ("base.evolver_strategy=cem", "base.evolver_shared_start=true")


@pytest.mark.parametrize("began", [("base.evolver_strategy=cem",), SHARED, ("base.evolver_strategy=none",)])
def test_a_population_that_began_with_another_strategy_is_not_changed(tmp_path, began):
    """As one that began when another strategy was the default."""
    first = EvolverHost(config_of("role=evolver", *began), tmp_path)
    first.store.save(first.evolution, {})
    with pytest.raises(UserError, match=rf"evolver_strategy=pbt: .* began with {' with '.join(began)}: type that"):
        EvolverHost(config_of("role=evolver"), tmp_path)
    EvolverHost(config_of("role=evolver", *began), tmp_path)


def test_an_evolver_that_only_compares_takes_any_learners(tmp_path):
    host = EvolverHost(config_of("role=evolver", "base.evolver_strategy=none"), tmp_path)
    for networks in (ALONE, EVERYTHING):
        host.store.describe(Description({"networks": networks}, {}))
        assert host.known_description() is not None


@pytest.mark.slow
def test_learners_that_begin_alike_go_on_with_random_numbers_of_their_own():
    spec = Spec((Sensor("x", (3,)),), continuous=1)
    config = config_of("base.evolver_start_seed=7")
    found = []
    for seed in (1, 2):
        agent = assemble.make_agent(config, spec, None, seed)
        weights = agent.state()[0]
        found.append((np.random.random(), {name: x for name, x in weights.items() if name.startswith("policy/")}))
    (one, first), (other, second) = found
    assert one != other
    for name, x in first.items():
        np.testing.assert_array_equal(x, second[name])
