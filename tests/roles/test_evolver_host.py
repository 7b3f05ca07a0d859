"""Whom an evolver takes as its learners, and how learners with the same start differ."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

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
from sac.wire.messages import evolver_codec

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
    EvolverHost(config_of("role=evolver", *words), tmp_path)
    host.store.describe(Description({"networks": other}, {}))
    with pytest.raises(UserError, match="cannot go on: its learners give"):
        EvolverHost(config_of("role=evolver", *words), tmp_path)


def test_learners_that_vary_other_hyperparameters_are_refused(tmp_path):
    config = config_of("role=evolver", "+random_params={sac.tau: {truncated: [0.001, 0.01]}}")
    host = EvolverHost(config, tmp_path)
    host.store.describe(Description({"networks": {**EVERYTHING, "numbers/sac.tau": [[], "float64"]}}, {}))
    EvolverHost(config, tmp_path)
    host.store.describe(Description({"networks": {**EVERYTHING, "numbers/sac.gamma": [[], "float64"]}}, {}))
    with pytest.raises(UserError, match=r"learners vary sac\.gamma, and the evolver sac\.tau: .*same random_params"):
        EvolverHost(config, tmp_path)


def test_a_population_goes_on_with_another_config_but_not_with_other_networks(tmp_path):
    """As one whose command was changed, or that an earlier version began."""
    EvolverHost(config_of("role=evolver"), tmp_path).store.describe(
        Description({"networks": EVERYTHING, "sac.tau": 0.5, "sac.former": 1}, {})
    )
    host, server = EvolverHost(config_of("role=evolver"), tmp_path), SimpleNamespace()
    assert host.known_description() is None, "the first learner tells it"
    host.make_service(server, Description({"networks": EVERYTHING, "sac.tau": 0.1}, {}))
    with pytest.raises(ValueError, match=r"began with other networks \(policy/0\): type the keys that it began with"):
        host.make_service(server, Description({"networks": {**EVERYTHING, "policy/0": [[4], "float32"]}}, {}))


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
    for networks in (ALONE, {**EVERYTHING, "numbers/sac.tau": [[], "float64"]}, {}):
        host, server = EvolverHost(config_of("role=evolver", "base.evolver_strategy=none"), tmp_path), SimpleNamespace()
        host.make_service(server, Description({"networks": networks}, {}))
        host.store.describe(Description({"networks": networks}, {}))
        numbers = {name: np.float64(0.5) for name in networks if name.startswith("numbers/")}
        learner = evolver_codec({name: (tuple(shape), dtype) for name, (shape, dtype) in networks.items()}, {})
        told = server.codec.decode(learner.encode("what_am_i?", {"assigned": 0}, numbers))
        assert told.arrays.keys() == numbers.keys(), "it reads what such a learner says"


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
