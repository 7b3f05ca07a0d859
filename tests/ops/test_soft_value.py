"""The soft value and its parts against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.ops.soft_value import chosen_q, entropy_bonus, expected_q, largest_entropy, random_subset

rng = np.random.default_rng(0)
NETS, B, T = 3, 4, 2


def probs(*branches):
    return np.concatenate([rng.dirichlet(np.ones(n), (B, T)) for n in branches], axis=-1).astype(np.float32)


def test_one_branch_takes_the_minimum_of_each_choice_before_the_expectation():
    q, p = rng.normal(size=(NETS, B, T, 5)).astype(np.float32), probs(5)
    expected = (q.min(0) * p).sum(-1)
    np.testing.assert_allclose(expected_q(q, p, 1), expected, rtol=1e-5)
    assert np.abs(expected - (q * p).sum(-1).min(0)).max() > 0.1  # the other order gives another value


def test_several_branches_compare_the_sums_of_the_nets():
    q, p = rng.normal(size=(NETS, B, T, 5)).astype(np.float32), probs(3, 2)
    expected = (q * p).sum(-1).min(0)
    np.testing.assert_allclose(expected_q(q, p, 2), expected, rtol=1e-5)
    assert np.abs(expected - (q.min(0) * p).sum(-1)).max() > 0.1


def test_several_branches_do_not_see_how_a_net_shares_its_value_among_them():
    q, p = rng.normal(size=(NETS, B, T, 5)).astype(np.float32), probs(3, 2)
    drift = np.array([2, 2, 2, -2, -2], np.float32) * np.array([1, -3, 0.5], np.float32)[:, None, None, None]
    np.testing.assert_allclose(expected_q(q + drift, p, 2), expected_q(q, p, 2), atol=1e-5)


def test_continuous_only_is_one_column_of_probability_one():
    q = rng.normal(size=(NETS, B, T, 1)).astype(np.float32)
    np.testing.assert_allclose(expected_q(q, np.ones((B, T, 1), np.float32), 0), q.min(0)[..., 0])


def test_chosen_q_sums_the_taken_columns_of_each_net():
    q = rng.normal(size=(NETS, B, T, 5)).astype(np.float32)
    one_hot = np.tile(np.array([0, 1, 0, 1, 0], np.float32), (B, T, 1))
    np.testing.assert_allclose(chosen_q(q, one_hot), q[..., 1] + q[..., 3], rtol=1e-6)


def test_entropy_bonus_has_a_temperature_for_each_kind():
    assert float(entropy_bonus(tf.constant(-2.0), tf.constant(0.5), 0.1, 10.0)) == pytest.approx(0.2 + 5.0)


def test_largest_entropy_counts_only_legal_choices():
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [0, 0, 1, 0, 1]], bool)
    expected = [np.log(3) + np.log(2), np.log(2), 0.0]
    np.testing.assert_allclose(largest_entropy(mask, (3, 2)), expected, rtol=1e-6)
    np.testing.assert_array_equal(largest_entropy(np.zeros((3, 0), bool), ()), np.zeros(3))


@pytest.mark.slow
def test_random_subset_draws_without_repeating_and_evenly():
    draws = np.array([random_subset(5, 2, [0, i]) for i in range(2000)])
    assert (draws[:, 0] != draws[:, 1]).all()
    # 2000 draws of 2 in 5: each critic 800 times, standard deviation 22
    assert np.abs(np.bincount(draws.ravel(), minlength=5) - 800).max() < 4 * 22
    np.testing.assert_array_equal(random_subset(3, 3, [0, 0]), [0, 1, 2])
