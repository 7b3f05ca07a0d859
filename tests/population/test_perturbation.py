"""Hyperparameters move by one step within the bounds of their distributions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from sac.config.distributions import Normal, OneOf, UniformRange
from sac.config.live_keys import is_allowed
from sac.population.perturbation import Perturbation, moved

WIDE = UniformRange(1e-5, 3e-2, log=True)


@pytest.mark.parametrize(
    ("name", "value", "distribution", "down", "up"),
    [
        ("sac.learning_rate", 1e-3, WIDE, 8e-4, 1.25e-3),
        ("sac.learning_rate", 1.1e-5, WIDE, 1e-5, 1.375e-5),  # not below the lower bound
        ("sac.learning_rate", 2.9e-2, WIDE, 2.32e-2, 3e-2),
        ("sac.gamma", 0.99, UniformRange(0.9, 0.999), 0.992, 0.9875),  # its distance from 1 moves
        ("sac.gamma", 0.9, UniformRange(0.9, 0.999), 0.92, 0.9),
        ("sac.v_lambda", 0.5, UniformRange(0, 1), 0.6, 0.375),
        ("sac.init_log_alpha", -2.0, UniformRange(-5, 0), -2 + math.log(0.8), -2 + math.log(1.25)),
        ("sac.init_log_alpha", -0.1, UniformRange(-5, 0), -0.1 + math.log(0.8), 0),
        ("sac.tau", 0.005, Normal(0.005, 0.002), 0.004, 0.00625),
        ("sac.tau", 0.005, Normal(0.005, 0.002, low=0.0045), 0.0045, 0.00625),
        ("sac.n_step", 3, OneOf((1, 3, 5)), 1, 5),
        ("sac.n_step", 1, OneOf((1, 3, 5)), 3, 3),  # the first has one neighbour
        ("sac.n_step", 5, OneOf((5, 1, 3)), 3, 3),
        ("sac.n_step", 2, OneOf((2,)), 2, 2),
        ("sac.gamma", 0.99000001, OneOf((0.9, 0.99, 0.999)), 0.9, 0.999),  # the nearest choice counts as its own
        ("sac.n_step", 4, UniformRange(1, 9, whole=True), 3, 5),
        ("sac.n_step", 1, UniformRange(1, 9, whole=True), 1, 2),
        ("sac.n_step", 2, UniformRange(1, 9, whole=True), 1, 3),  # whole numbers move by one at least
        ("sac.n_step", 9, UniformRange(1, 9, whole=True), 7, 9),
    ],
)
def test_a_number_moves_one_step_within_its_bounds(name, value, distribution, down, up):
    found = moved(name, value, distribution, 0), moved(name, value, distribution, 1)
    assert found == pytest.approx((down, up), rel=1e-9)


def test_a_number_never_leaves_its_bounds_and_reaches_all_of_them():
    explore, random = (
        Perturbation({"sac.learning_rate": WIDE, "sac.n_step": OneOf((1, 3, 5))}, is_allowed),
        np.random.default_rng(0),
    )
    numbers, seen = {"sac.learning_rate": 1e-3, "sac.n_step": 3}, []
    for _ in range(5000):
        numbers = explore(numbers, (), random)
        seen.append(numbers)
    rates = [one["sac.learning_rate"] for one in seen]
    assert min(rates) == 1e-5 and max(rates) == 3e-2 and {one["sac.n_step"] for one in seen} == {1, 3, 5}
    changed = [a["sac.learning_rate"] != b["sac.learning_rate"] for a, b in pairwise(seen)]
    assert np.mean(changed) > 0.9, "it stays only at a bound"


def test_up_and_down_are_as_likely_and_cancel():
    assert moved("sac.tau", moved("sac.tau", 0.01, Normal(0.01, 1.0), 1), Normal(0.01, 1.0), 0) == pytest.approx(0.01)
    explore = Perturbation({"sac.tau": Normal(0.01, 1.0)}, is_allowed)
    ups = [explore({"sac.tau": 0.01}, (), np.random.default_rng(seed))["sac.tau"] > 0.01 for seed in range(400)]
    assert 0.4 < np.mean(ups) < 0.6


def test_a_number_without_bounds_of_its_own_stays_within_those_of_its_key():
    explore = Perturbation({"sac.tau": Normal(0.5, 0.1), "sac.gamma": Normal(0.1, 0.1)}, is_allowed)
    random, numbers, seen = np.random.default_rng(0), {"sac.tau": 0.9, "sac.gamma": 0.1}, []
    for _ in range(200):
        numbers = explore(numbers, [], random)
        seen.append(tuple(numbers.values()))
    assert np.min(seen) >= 0 and np.max(seen) <= 1 and len(set(seen)) > 20
