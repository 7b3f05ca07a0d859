"""An agent whose hyperparameters were changed learns as one that was made with the new values, without a new trace."""

from __future__ import annotations

import numpy as np
import pytest

from sac.ops import returns
from tests.agent.agent_kit import SPECS, make_agent, single, weights, windows
from tests.ops.test_returns import random_window

CHANGES = {
    "gamma": (0.99, 0.8),
    "tau": (0.005, 0.3),
    "learning_rate": (3e-4, 1e-2),
    "v_lambda": (1.0, 0.4),
    "target_entropy_ratio": (0.98, 0.2),
}


def learnt(agent, steps=1, updates=3) -> dict[str, np.ndarray]:
    batches = windows(agent.spec, updates, 8, steps=steps)
    for k in range(updates):
        agent.update(single(batches, k))
    return weights(agent)


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_changed_number_is_learnt_with(name, jit):
    old, new = CHANGES[name]
    spec, numbers = SPECS["hybrid"], {"n_step": 2, "jit": jit}
    changed = make_agent(spec, live={name: old}, **numbers | {name: old})
    assert changed.live.values() == {name: pytest.approx(old)}
    first = weights(changed)
    learnt(changed, steps=2)
    changed.restore(first, {})
    changed.change({name: new})
    expected = learnt(make_agent(spec, **numbers | {name: new}), steps=2)
    assert distance(learnt(changed, steps=2), expected) < 1e-5
    assert distance(expected, learnt(make_agent(spec, **numbers | {name: old}), steps=2)) > 1e-4, "it matters"
    assert changed.traces == 1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_is_scaled_with_its_first_rate(schedule):
    numbers = {"learning_rate_schedule": schedule, "learning_rate_updates": 10}
    changed = make_agent(SPECS["continuous"], live={"learning_rate": 1e-3}, learning_rate_end=1e-4, **numbers)
    changed.change({"learning_rate": 1e-2})
    expected = make_agent(SPECS["continuous"], learning_rate=1e-2, learning_rate_end=1e-3, **numbers)
    assert distance(learnt(changed), learnt(expected)) < 1e-5


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_steps_are_those_of_shorter_returns(n):
    columns, later = random_window(np.random.default_rng(0), 6), ("soft_reward", "stored_q", "log_ratio")
    cut = 6 - 3 + n  # rows of a window for n steps with as many trained states
    columns = {name: x.astype(np.float32) for name, x in columns.items()}
    shorter = {name: x[:, :cut] for name, x in columns.items()}
    whole, shorter = (
        {name: x[:, 1:] if name in later else x for name, x in window.items()} for window in (columns, shorter)
    )
    for function, unused, cap in ((returns.vtrace, "stored_q", {"rho_cap": 1.5}), (returns.retrace, "soft_reward", {})):
        common = {"gamma": 0.9, "lam": 0.8, "c_cap": 1.2, **cap}
        one, other = ({name: x for name, x in window.items() if name != unused} for window in (whole, shorter))
        found = function(**one, n=3, present_n=float(n), **common)
        np.testing.assert_allclose(found, function(**other, n=n, **common), rtol=1e-5)


def test_the_steps_of_returns_change_within_the_windows():
    agent = make_agent(SPECS["continuous"], n_step=3, live={"n_step": 1})
    first = weights(agent)
    short = learnt(agent, steps=3)
    agent.restore(first, {})
    agent.change({"n_step": 3})
    assert distance(learnt(agent, steps=3), learnt(make_agent(SPECS["continuous"], n_step=3), steps=3)) < 1e-5
    assert distance(short, weights(agent)) > 1e-4 and agent.traces == 1


def test_a_temperature_that_is_not_learned_follows_at_once():
    agent = make_agent(SPECS["continuous"], use_auto_alpha=False, live={"init_log_alpha": -2.0}, init_log_alpha=-2.0)
    agent.change({"init_log_alpha": -1.0})
    np.testing.assert_array_equal(weights(agent)["temperatures/0"], [-1.0, -1.0])
    learned = make_agent(SPECS["continuous"], live={"init_log_alpha": -2.0}, init_log_alpha=-2.0)
    learned.change({"init_log_alpha": -1.0})
    np.testing.assert_array_equal(weights(learned)["temperatures/0"], [-2.0, -2.0])
