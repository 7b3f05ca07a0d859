"""Discrete choices by the critics: legal, greedy, made by one random subset of critics."""

from __future__ import annotations

import numpy as np

from sac.backend import tf
from sac.nets.action_distribution import ActionDistribution
from sac.ops.discrete_choice import ByCritic, ByPolicy
from sac.types import Sensor, Spec

SPEC = Spec((Sensor("x", (1,)),), 0, (3, 2))
LOGITS = tf.constant([[0.3, 2.0, -1.0, 0.5, 0.0]])
MASK = np.array([[True, False, True, True, True]])
Q = tf.constant([[[1.0, 9, 2, 0, 1]], [[1, 9, 2, 4, 1]], [[9, 9, 2, 0, 1]]])  # three critics


def test_the_critics_choose_the_best_legal_column_of_each_branch():
    pi = ActionDistribution(SPEC, None, LOGITS, MASK)
    chosen = ByCritic.decide(pi, Q[:2], 2, [0, 0])
    np.testing.assert_array_equal(chosen.probs, [[0, 0, 1, 1, 0]])  # 9 is forbidden; means 2 and (0 + 4) / 2 > 1
    np.testing.assert_array_equal(chosen.discrete_entropy(LOGITS), [0])
    np.testing.assert_array_equal(chosen.choices(tf.random.stateless_uniform((1, 5), [1, 2])), [[2, 0]])
    np.testing.assert_array_equal(chosen.discrete_log_prob(chosen.probs), [0])


def test_each_subset_of_nets_has_its_say():
    pi = ActionDistribution(SPEC, None, LOGITS, MASK)
    chosen = {tuple(np.array(ByCritic.decide(pi, Q, 1, [0, i]).probs)[0]) for i in range(40)}
    assert chosen == {(0, 0, 1, 0, 1), (0, 0, 1, 1, 0), (1, 0, 0, 0, 1)}  # by critic 0, 1 or 2 alone


def test_no_gradient_passes_through_the_choice():
    q = tf.Variable(Q)
    with tf.GradientTape() as tape:
        out = tf.reduce_sum(ByCritic.decide(ActionDistribution(SPEC, None, LOGITS, MASK), q, 3, [0, 0]).probs)
    assert tape.gradient(out, q) is None


def test_ratios_know_the_discrete_part_only_where_a_policy_has_it():
    pi, taken = ActionDistribution(SPEC, None, LOGITS, MASK), tf.constant([[1.0, 0, 0, 0, 1]])
    log_mu = tf.constant([[-1.0, -2.0]])
    np.testing.assert_allclose(ByPolicy.log_prob(pi, taken), pi.discrete_log_prob(taken))
    assert float(ByPolicy.behaviour_log_prob(log_mu)[0]) == -3 and float(ByCritic.behaviour_log_prob(log_mu)[0]) == -1
    assert float(ByCritic.log_prob(pi, taken)[0]) == 0
    assert ByPolicy.decide(pi, Q, 2, [0, 0]) is pi


def test_a_uniform_policy_is_uniform_over_what_is_legal():
    np.testing.assert_allclose(ActionDistribution(SPEC, None, LOGITS, MASK).uniform().probs, [[0.5, 0, 0.5, 0.5, 0.5]])


def test_novelty_chooses_every_candidate_of_a_policy_and_only_the_random_draws_of_critics():
    """DQN-like choices are greedy, except for the exploratory ones, which novelty may replace."""
    explore = tf.constant([True, False])
    assert ByPolicy.prefers(explore).numpy().tolist() == [True, True]
    assert ByCritic.prefers(explore).numpy().tolist() == [True, False]
