"""No life of an actor repeats another one: seeds of starts and of noisy layers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from sac.distributed.weights import ServedPolicy
from sac.roles.actor import count_start
from sac.seeds import seed_of


def test_every_start_has_a_seed_of_its_own(tmp_path):
    seeds = [seed_of(1, number, count_start(tmp_path / str(number))) for number in (1, 2) for _ in range(3)]
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**31 for seed in seeds)
    assert (tmp_path / "1").read_text() == "3"


def test_noisy_layers_of_actors_that_ask_are_drawn_anew_at_each_choice():
    seeds = []

    def act(obs, mask, previous, state, noise, seed, **_):
        seeds.append(seed)

    agent = SimpleNamespace(seed=3, acting_variables=lambda with_td_errors: {}, act=act)
    policy = ServedPolicy(agent, lambda: agent, with_td_errors=False)
    names = "mask", "previous", "state", "normal", "gumbel", "pick", "explore", "epsilon", "noise"
    for _ in range(2):
        policy.act(dict.fromkeys(names, np.zeros(1)))
    assert seeds[0] != seeds[1] and all(0 <= part < 2**31 for seed in seeds for part in seed)
