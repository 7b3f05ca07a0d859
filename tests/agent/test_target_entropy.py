"""The target entropy of discrete choices: a share of the largest entropy that moves from one value to another."""

from __future__ import annotations

import numpy as np
import pytest

from sac.agent.optimizers import adam
from sac.agent.temperature import Temperatures
from tests.agent.agent_kit import SPECS, hyperparameters, in_graph, make_agent, single, windows

SCHEDULE = {"target_entropy_ratio": 0.6, "target_entropy_ratio_end": 0.1, "target_entropy_ratio_updates": 100}


def temperatures(kind="discrete", **hyper) -> Temperatures:
    return Temperatures(SPECS[kind], hyperparameters(**hyper), True)


@pytest.mark.parametrize(
    ("updates", "expected"), [(0, 0.6), (25, 0.475), (50, 0.35), (100, 0.1), (101, 0.1), (10**9, 0.1)]
)
def test_the_share_moves_in_a_straight_line_and_stays_at_its_end(updates, expected):
    assert float(temperatures(**SCHEDULE).discrete_ratio(updates)) == pytest.approx(expected)


def test_the_share_may_rise_and_stays_where_it_is_without_an_end():
    rising = temperatures(target_entropy_ratio=0.1, target_entropy_ratio_end=0.5, target_entropy_ratio_updates=10)
    assert float(rising.discrete_ratio(5)) == pytest.approx(0.3)
    assert [float(temperatures(target_entropy_ratio=0.4).discrete_ratio(n)) for n in (0, 10**7)] == [0.4, 0.4]


@pytest.mark.parametrize(("updates", "sign"), [(0, 1), (50, 1), (60, -1), (100, -1)])
def test_the_temperature_follows_the_share_of_today(updates, sign):
    """An entropy of 0.32 of the largest one is below the target until update 56, then above it."""
    t, valid = temperatures(**SCHEDULE), np.ones((2, 1), np.float32)
    optimizer = adam(t.hyper, regularised=False)
    optimizer.build([t.log_alpha])
    before = np.array(t.log_alpha)
    entropy = np.full((2, 1), 0.32 * np.log(4), np.float32)
    in_graph(lambda: t.adjust(optimizer, (0.0 * entropy, entropy), np.ones((2, 1, 4), bool), valid, updates))
    assert np.sign(np.array(t.log_alpha) - before).tolist() == [0, sign]


@pytest.mark.slow
def test_an_agent_counts_its_updates_for_it():
    """With a schedule of one update the share is at its end; with one of 10^9 updates it is still at its beginning."""
    learnt = []
    for ratio, end, updates in ((1.0, None, 1), (0.0, 1.0, 1), (0.0, None, 1), (0.0, 1.0, 10**9)):
        share = {
            "target_entropy_ratio": ratio,
            "target_entropy_ratio_end": end,
            "target_entropy_ratio_updates": updates,
        }
        agent = make_agent(SPECS["discrete"], **share)
        agent.update(single(windows(agent.spec, 8, steps=1)))
        learnt.append(float(np.array(agent.temperatures.log_alpha)[1]))
    assert learnt[0] == learnt[1] > -2.3 > learnt[2] == learnt[3]


def test_nothing_new_is_saved_with_the_agent():
    plain, scheduled = (set(make_agent(SPECS["hybrid"], **x).state()[0]) for x in ({}, SCHEDULE))
    assert plain == scheduled
