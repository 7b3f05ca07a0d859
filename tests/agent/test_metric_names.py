"""The metrics of an update are those that the agent lists: a metric outside the list would be lost silently."""

from __future__ import annotations

import pytest

from sac.backend import tf
from sac.extras.extra import Extra, Extras
from sac.ops.discrete_choice import ByCritic
from tests.agent.agent_kit import SPECS, make_agent, single, windows

RECURRENT = {"networks": {"recurrent": True, "normalized": SPECS["hybrid"].sensors}, "sequence_length": 2}


def update(agent, steps=1):
    return agent.update(single(windows(agent.spec, 4, steps=steps, state=agent.state_size)))[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "steps", "options"),
    [("continuous", 1, {}), ("discrete", 1, {"choice": ByCritic}), ("hybrid", 2, RECURRENT), ("branches", 1, {})],
)
def test_every_metric_is_reported_in_the_order_of_the_list(kind, steps, options):
    agent = make_agent(SPECS[kind], **options)
    assert list(update(agent, steps)) == agent.metric_names
    assert ("policy/saturated" in agent.metric_names) == (kind != "discrete")
    assert ("alpha/discrete" in agent.metric_names) == (kind in ("hybrid", "branches"))
    assert ("recurrent/delta_q" in agent.metric_names) == ("normalizer/clipped" in agent.metric_names) == (steps == 2)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("name", ["policy/loss", "alpha/discrete"])
def test_a_metric_that_the_list_lacks_is_refused(name, k):
    agent = make_agent(SPECS["hybrid"])
    agent.metric_names.remove(name)
    with pytest.raises(AssertionError, match=name):
        agent.update(windows(agent.spec, k, 4, steps=1))


@pytest.mark.slow
def test_a_listed_metric_that_does_not_exist_is_refused():
    agent = make_agent(SPECS["continuous"])
    agent.metric_names.append("policy/kl")
    with pytest.raises(AssertionError, match="policy/kl"):
        update(agent)


@pytest.mark.slow
def test_a_loss_that_an_extra_does_not_name_is_refused():
    class Nameless(Extra):
        name = "nameless"

        def losses(self, window):
            return {"hidden": tf.constant(0.0)}

    agent = make_agent(SPECS["continuous"], extras=Extras([Nameless()]))
    with pytest.raises(AssertionError, match="nameless/hidden"):
        update(agent)
