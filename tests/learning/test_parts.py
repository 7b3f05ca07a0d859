"""Each part of the algorithm on a task that it is for, and the same task without it.

Measured with three seeds each; the thresholds leave what the comments say.
"""

from __future__ import annotations

import pytest
from gymnasium.vector import SyncVectorEnv

from envs.gymnasium_adapter.env import GymEnv
from sac.collect.exploration import Epsilon
from sac.ops.discrete_choice import ByCritic
from tests.envs.space_toys import Board
from tests.learning.lessons import (
    Detour,
    Forbidden,
    Lottery,
    Paid,
    Scaled,
    Signal,
    Symbols,
    TwoQuestions,
    mean_return,
    score,
    train,
    value,
)

pytestmark = [pytest.mark.learning, pytest.mark.timeout(400)]
EPSILON = Epsilon(1.0, 0.1, 1500)


def test_four_symbols_are_told_apart_in_pictures():
    networks = {"kwargs": {"ModelRep": {"conv_units": 32}}, "jit": False}  # convolutions are slow under XLA on a CPU
    assert score(train(Symbols(), 4000, updates_per_step=0.25, **networks), Symbols()) > 0.9  # optimum 1, random 0.25


def test_normalisation_makes_badly_scaled_observations_learnable():
    with_it = score(train(Scaled(), 4000, networks={"normalized": Scaled.spec.sensors}), Scaled())
    without = score(train(Scaled(), 4000), Scaled())
    assert with_it > -0.05 and without < -0.2  # optimum 0, silence -0.43


def test_critics_alone_answer_two_questions():
    """Epsilon-greedy on the critics: summed branches, no discrete policy."""
    agent = train(TwoQuestions(), 4000, choice=ByCritic, epsilon=EPSILON)
    assert score(agent, TwoQuestions()) > 0.93  # optimum 1, random 0.42


def test_critics_alone_take_the_best_legal_choice():
    assert score(train(Forbidden(), 4000, choice=ByCritic, epsilon=EPSILON), Forbidden()) > 0.08  # optimum 0.2


def test_critics_alone_see_past_what_the_random_behaviour_did():
    """The target takes the best choice in the next state, not the one that was made or an average: 1, else 0.5."""
    agent = train(Detour(), 4000, random_steps=10**9, choice=ByCritic)
    assert mean_return(agent, Detour()) == pytest.approx(1)


def test_a_clip_of_the_size_of_returns_learns_them_and_a_small_one_holds_the_critics_back():
    """The best value is 1 / (1 - 0.9) = 10; critics within 0.001 of slow ones hardly leave 0, as conf/ warns."""
    wide, narrow = (value(train(Paid(), 4000, clip_epsilon=clip), Paid()) for clip in (5.0, 0.001))
    assert 8 < wide < 12 and narrow < wide / 2


def test_a_temperature_that_begins_hot_cools_down():
    """The best value is 10; a temperature that stays at e promises entropy for ever (32) and answers worse (0.80)."""
    agent = train(Paid(), 4000, init_log_alpha=1.0)
    assert 8 < value(agent, Paid()) < 12  # measured with three seeds 9.0
    assert score(agent, Paid()) > 0.95  # optimum 1, measured 0.993 ... 0.996


def test_a_minimum_over_some_of_many_critics_promises_less_of_a_lottery():
    """The true value is the 0 that playing it brings (and hardly any entropy is paid for)."""
    cold = {"choice": ByCritic, "epsilon": EPSILON, "updates_per_step": 1.0}
    alone = value(train(Lottery(), 3000, ensemble=1, ensemble_q_sample=1, **cold), Lottery(256))
    some = value(train(Lottery(), 3000, ensemble=5, ensemble_q_sample=2, **cold), Lottery(256))
    assert abs(score(train(Lottery(), 500, **cold), Lottery(256), 2000)) < 0.1
    assert alone > 1.0 and some < alone / 2


def test_a_policy_held_near_its_slow_copy_still_learns():
    agent = train(Signal(), 4000, clip_epsilon_policy=0.2, networks={"slow_policy": True})
    assert score(agent, Signal()) > -0.02


def test_pictures_of_small_bytes_are_learnt_from():
    """Values are 0 and 1, as the bounds of the space say."""
    env = GymEnv(SyncVectorEnv([Board] * 8, autoreset_mode="SameStep"))
    networks = {"kwargs": {"ModelRep": {"conv_units": 32}}, "jit": False}
    assert score(train(env, 2000, updates_per_step=0.25, **networks), env) > 0.9  # optimum 1, random 0.25
