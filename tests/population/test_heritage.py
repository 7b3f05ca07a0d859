"""A copy is the learner that it was copied from, to the bit, and goes on after a restart as if nothing had happened."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sac.population.client import EvolverClient
from sac.population.heritage import Everything
from sac.population.numbers import of_arrays
from sac.replay.running_stats import RunningStats
from sac.types import Sensor
from sac.wire.codec import Message
from tests.agent.agent_kit import SENSORS, SPECS, make_agent, single, weights, windows

SPEC = SPECS["hybrid"]
NUMBERS = {"sac.gamma": 0.95, "sac.learning_rate": 1e-3}


def member(seed: int, gamma: float = 0.95, learnt: int = 0) -> tuple[Everything, RunningStats]:
    """A learner that has learnt from so many batches."""
    live = {"gamma": gamma, "learning_rate": 1e-3}
    normalized = {"normalized": (Sensor("v", (3,)),)}
    agent = make_agent(SPEC, seed=seed, live=live, gamma=gamma, networks=normalized)
    stats = RunningStats(SENSORS)
    stats.count, stats.mean, stats.m2 = 9 + seed, {"v": np.full(3, float(seed))}, {"v": np.full(3, 2.0 + seed)}
    everything = Everything(agent, lambda number: make_agent(SPEC, seed=number, live=live, networks=normalized), stats,
                            {"sac.gamma": gamma, "sac.learning_rate": 1e-3})  # fmt: skip
    learn(everything, learnt)
    return everything, stats


def learn(everything: Everything, times: int, first: int = 0) -> None:
    batches = windows(SPEC, 8, 4, steps=1)
    for k in range(first, first + times):
        everything._agent.normalise(everything._stats)
        everything._agent.update(single(batches, k))


def same(one: Everything, other: Everything) -> bool:
    a, b = one.networks(), other.networks()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_copy_is_everything_of_the_other_and_learns_on_like_it():
    winner, _ = member(seed=1, gamma=0.9, learnt=3)
    loser, stats = member(seed=2, learnt=1)
    loser._agent.rng = winner._agent.rng  # the random numbers stay a learner's own
    given = {name: np.array(x) for name, x in winner.networks().items()}
    loser.become(given)
    assert same(winner, loser) and loser.numbers == winner.numbers == {"sac.gamma": 0.9, "sac.learning_rate": 1e-3}
    assert stats.count == 10 and stats.mean["v"].tolist() == [1.0] * 3
    names = " ".join(given)
    for part in (
        "policy/",
        "target_critic",
        "optimizer_critic/",
        "temperatures/",
        "normalizer/",
        "updates",
        "stats/m2",
    ):
        assert part in names, part
    assert int(given["updates"]) == 3 and loser._agent.live.values()["gamma"] == pytest.approx(0.9)


def test_a_copy_keeps_its_own_random_numbers():
    one, other = member(seed=1, learnt=2)[0], member(seed=2)[0]
    other.become(one.networks())
    learn(one, 1)
    learn(other, 1)
    assert not same(one, other)


def test_a_copied_learner_that_is_started_again_goes_on_to_the_bit():
    """It was copied, learnt on and was saved; a new process with other first values goes on from there."""
    winner, _ = member(seed=1, gamma=0.9, learnt=3)
    arrays = dict(winner.networks()) | {"numbers/sac.gamma": np.float64(0.92)}
    loser, stats = member(seed=2, learnt=1)
    line = EvolverClient(SimpleNamespace(), loser)
    line._handle(Message("become", {"assigned": 4}, arrays))
    learn(loser, 2)
    parts = {"agent": loser._agent, "moments": stats, "evolving": line}
    saved = {name: [dict(x) if isinstance(x, dict) else x for x in part.state()] for name, part in parts.items()}
    learn(loser, 2, first=2)

    again, stats = member(seed=2)
    line = EvolverClient(SimpleNamespace(), again)
    for name, part in {"agent": again._agent, "moments": stats, "evolving": line}.items():
        part.restore(*saved[name])
    assert line.assigned == 4 and again.numbers["sac.gamma"] == 0.92
    learn(again, 2, first=2)
    assert same(loser, again)


def test_a_learner_begins_anew_with_its_present_numbers():
    one, _ = member(seed=1, learnt=2)
    one.change({"sac.gamma": 0.8})
    before = weights(one._agent)
    one.begin_anew(5)
    after = weights(one._agent)
    assert not np.array_equal(before["policy/0"], after["policy/0"]) and after["updates"] == before["updates"]
    assert one._agent.live.values()["gamma"] == pytest.approx(0.8)
    assert of_arrays(one.networks()) == {"sac.gamma": 0.8, "sac.learning_rate": 1e-3}
