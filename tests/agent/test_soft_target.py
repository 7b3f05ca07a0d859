"""Whether Q contains entropy: the fixed points of an agent's own targets, exact on a small soft MDP.

Policy and critics are tables (linear layers on states as one-hot vectors); an expectation runs over all windows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sac.agent.agent import Agent
from sac.backend import tf
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Builder, build_networks
from sac.ops.discrete_choice import ByCritic
from sac.types import Batch, Sensor, Spec
from tests.agent.agent_kit import SPECS, hyperparameters, make_agent, windows
from tests.ops.soft_mdp import ACTIONS, ALPHA, GAMMA, STATES, SoftMDP, Windows, policy

SOFT = SoftMDP.make(0)
HARD = replace(SOFT, alpha=0.0)
PI, MU = policy(1), policy(2)
UNCLIPPED = {"v_rho": float("inf"), "v_c": 1.0}  # with these V-trace is exact off policy
UNCORRECTED = {"n_step": 3, "use_n_step_is": False}  # exact on policy


def tabular_agent(**hyper) -> Agent:
    """The policy is PI; the critics are tables."""
    spec = Spec((Sensor("s", (STATES,)),), 0, (ACTIONS,))
    build = Builder(None, {"ModelPolicy": {"hidden": []}, "ModelQ": {"hidden": []}})
    numbers = hyperparameters(jit=False, gamma=GAMMA, init_log_alpha=float(np.log(ALPHA)), **hyper)
    agent = Agent(build_networks(spec, build, 2), numbers, 0)
    agent.nets.policy.body.stack[-1].kernel.assign(np.log(PI))
    return agent


def batch_of(every: Windows, mu) -> Batch:
    w, n = every.action.shape
    s, a = every.state[:, :-1], every.action
    probability = np.stack([np.zeros((w, n)), np.log(mu)[s, a]], -1)
    nothing = np.zeros((w, 0))
    columns = {
        "mask": np.ones((w, n + 1, ACTIONS), bool), "discrete": a[..., None].astype(np.int32),
        "previous": np.zeros((w, n + 1, 0)), "raw_action": np.zeros((w, n, 0)), "log_prob": probability,
        "reward": SOFT.reward[s, a], "discount": SOFT.discount[s, a], "valid": every.valid,
        "state": nothing, "stored": nothing, "weight": np.ones(w),
    }  # fmt: skip
    columns = {k: np.float32(x) if x.dtype == float else x for k, x in columns.items()}
    return Batch({"s": np.eye(STATES, dtype=np.float32)[every.state]}, **columns, index=())


def fixed_point(agent: Agent, mu, rounds: int = 60) -> np.ndarray:
    """Q [S, A] after many applications of the agent's targets, from zero."""
    every = Windows.all(SOFT, mu, agent.hyper.n_step)
    batch = tf.nest.map_structure(tf.convert_to_tensor, batch_of(every, mu))
    z, taken = batch.obs["s"], one_hot(batch.discrete, agent.spec)
    q = np.zeros((STATES, ACTIONS))
    for _ in range(rounds):
        for critic in agent.nets.target_critics:
            critic.body.stack[-1].kernel.assign(q)
        q = every.expectation(agent.targets(batch, z, z, batch.raw_action, taken)[0])
    return q


@pytest.mark.slow
@pytest.mark.parametrize(
    "hyper",
    [{}, {"n_step": 3}, {"n_step": 3, "v_lambda": 0.6}, {"n_step": 3, "trace": "retrace"}, UNCORRECTED],
    ids=["one step", "vtrace", "vtrace, lambda", "retrace", "uncorrected"],
)
def test_targets_find_the_value_with_or_without_entropy(hyper):
    mu = PI if hyper is UNCORRECTED else MU
    soft, hard = SOFT.q_of(PI), HARD.q_of(PI)
    assert np.abs(soft - hard)[SOFT.discount > 0].min() > 0.8, "a wrong target must show"
    for soft_target, expected in ((True, soft), (False, hard), (None, hard)):
        agent = tabular_agent(soft_target=soft_target, **UNCLIPPED, **hyper)
        np.testing.assert_allclose(fixed_point(agent, mu), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["discrete", "hybrid"])
def test_critics_that_choose_like_dqn_know_no_discrete_entropy(kind):
    """Q never contains it; it contains the entropy of a hybrid's continuous part if that is configured."""
    batch = windows(SPECS[kind], 6, steps=3)
    targets = {}
    for soft in (None, True, False):
        agent = make_agent(SPECS[kind], choice=ByCritic, n_step=3, soft_target=soft)
        encoded = agent.encoder.encode(tf.nest.map_structure(tf.convert_to_tensor, batch._replace(index=())))
        targets[soft] = agent._update_critics.rewarded_targets(encoded)[1].numpy()
    np.testing.assert_array_equal(targets[None], targets[True])
    assert np.array_equal(targets[True], targets[False]) == (kind == "discrete")
