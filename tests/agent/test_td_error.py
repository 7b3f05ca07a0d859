"""The TD errors of windows before any update are those that the update would report."""

from __future__ import annotations

import numpy as np
import pytest

from sac.extras.curiosity import Curiosity
from sac.extras.extra import Extras
from sac.extras.rnd import RND
from sac.ops.discrete_choice import ByCritic
from sac.ops.value_scale import Rescaled
from tests.agent.agent_kit import SPECS, TrainedRep, make_agent, module, single, weights, windows
from tests.agent.test_action_selection import NoisyRep

B = 8
MULTI_STEP = {"n_step": 3, "sequence_length": 2}
RECURRENT = {"networks": {"recurrent": True}, "burn_in_step": 3, **MULTI_STEP}
CASES = {
    "continuous": (SPECS["continuous"], {}),
    "discrete": (SPECS["discrete"], MULTI_STEP),
    "hybrid": (SPECS["hybrid"], {"nn": module(ModelRep=TrainedRep), **MULTI_STEP}),
    "branches": (SPECS["branches"], {"ensemble": 3, **MULTI_STEP}),
    "recurrent": (SPECS["hybrid"], RECURRENT),
    "compiled": (SPECS["hybrid"], {"jit": True, **MULTI_STEP}),
    "dqn": (SPECS["hybrid"], {"choice": ByCritic, "scale": Rescaled, **MULTI_STEP}),
    "retrace": (SPECS["hybrid"], {"trace": "retrace", "use_n_step_is": False, **MULTI_STEP}),
    "noisy": (SPECS["continuous"], {"nn": module(ModelRep=NoisyRep)}),
    "curious": (SPECS["hybrid"], {"extras": lambda build, spec: Extras([Curiosity(build, spec, 2.0, True)])}),
}


def prepared(case, **more):
    spec, options = CASES[case]
    agent = make_agent(spec, **options, **more)
    for critic in agent.nets.target_critics:  # target networks differ from the online ones
        for w in critic.weights:
            w.assign(1.3 * w)
    return agent


def batch(agent, size=B, seed=0):
    h = agent.hyper
    return windows(agent.spec, size, steps=h.steps + h.burn_in_step, seed=seed, state=agent.state_size)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_is_what_the_update_reports_and_nothing_is_learnt(case):
    agent = prepared(case)
    agent.updates.assign(1)  # the number that the first update will have
    before = weights(agent)
    found = agent.td_error(batch(agent))
    assert found.shape == (B,) and found.dtype == np.float32 and found.std() > 0.05
    for name, value in weights(agent).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    agent.updates.assign(0)
    _, learnt = agent.update(single(batch(agent)))
    np.testing.assert_allclose(found, learnt.td_error[0], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_statistics_of_novelty_stay_where_they_are():
    agent = make_agent(SPECS["hybrid"], extras=lambda build, spec: Extras([RND(build, spec, 2, 1.0, 0.5)]))
    agent.update(single(batch(agent)))
    before = weights(agent)
    agent.td_error(batch(agent, seed=1))
    for name, value in weights(agent).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["discrete", "noisy"])
def test_any_number_of_windows_costs_a_handful_of_compilations(case):
    agent = prepared(case)
    if case == "noisy":  # target actions without noise: the noise depends on the number of windows
        head = agent.nets.policy.body.stack[-1]
        head.bias.assign([0.0, 0.0, -50.0, -50.0])
        head.kernel.assign(0 * head.kernel)
    whole = batch(agent)
    expected = agent.td_error(whole)
    for size in range(1, B + 1):
        few = type(whole)(*({n: x[:size] for n, x in c.items()} if isinstance(c, dict) else c[:size] for c in whole))
        tolerance = 1e-5 if case == "discrete" else 0.2  # the smallest std is e^-5
        np.testing.assert_allclose(agent.td_error(few), expected[:size], atol=tolerance)
    assert agent._compiled_td_error.compilations == 4  # for 1, 2, 4 and 8
    assert agent.td_error(batch(agent, 0)).shape == (0,)
    assert agent.traces == 0
