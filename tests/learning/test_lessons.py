"""Every action kind finds a known optimum. Measured: three seeds each; the thresholds leave what the comments say."""

from __future__ import annotations

import pytest

from envs.joint_branches import JointBranches
from tests.learning.lessons import (
    Detour,
    Forbidden,
    Hybrid,
    Promise,
    Signal,
    Together,
    TwoQuestions,
    mean_return,
    score,
    train,
)

pytestmark = [pytest.mark.learning, pytest.mark.timeout(300)]
# A warm temperature pays so much for the policy's improbable choices that V-trace without its ratios would pass.
COLD = {"use_auto_alpha": False, "init_log_alpha": -7.0}


def test_continuous_follows_the_signal():
    # optimum 0, measured -0.0008 ... -0.0013; saying nothing -0.43
    assert score(train(Signal(), 4000), Signal()) > -0.02


def test_summed_branches_answer_two_questions():
    # optimum 1, measured 0.984 ... 0.988; random 0.42, one of both right 0.71 to 0.75
    assert score(train(TwoQuestions(), 4000), TwoQuestions()) > 0.93


def test_joint_branches_learn_what_no_sum_of_branches_can_say():
    # optimum 1, measured 1.0; random 0.5
    assert score(train(JointBranches(Together()), 4000), JointBranches(Together())) > 0.9


def test_hybrid_chooses_the_channel_and_its_value():
    # optimum 1, measured 0.974 ... 0.990; random 0.1, the right channel with a silent value 0.73
    assert score(train(Hybrid(), 6000), Hybrid()) > 0.9


def test_masked_choice_takes_the_best_legal_one():
    # optimum 0.2, measured 0.149 ... 0.156; a random legal choice -0.2
    assert score(train(Forbidden(), 4000), Forbidden()) > 0.08


def test_what_is_forbidden_is_not_hoped_for():
    # optimum 0.75 on average; these 256 episodes allow 0.777, measured with all three seeds
    agent = train(Promise(), 4000)
    assert mean_return(agent, Promise(), 256) > 0.65


@pytest.mark.parametrize(
    ("corrected", "expected"),
    [({}, 1.0), ({"trace": "retrace"}, 1.0), ({"use_n_step_is": False}, 0.5)],
    ids=["vtrace", "retrace", "plain"],
)
def test_off_policy_correction_sees_past_what_the_random_behaviour_did(corrected, expected):
    """Three steps, all data from uniform behaviour: V-trace and Retrace go on to 1, plain n-step settles for 0.5."""
    # measured exactly these returns with all three seeds
    found = mean_return(train(Detour(), 4000, random_steps=10**9, n_step=3, **COLD, **corrected), Detour())
    assert found == pytest.approx(expected)
