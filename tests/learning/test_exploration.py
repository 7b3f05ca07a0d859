"""A goal at the end of a corridor that a random walk seldom reaches: what explores gets there, what does not does not.

Measured with three seeds each; the thresholds leave what the comments say.
"""

from __future__ import annotations

from types import ModuleType

import pytest

from sac.backend import keras, tf
from sac.extras.curiosity import Curiosity
from sac.extras.rnd import RND
from sac.nets.action_distribution import ActionDistribution
from sac.nets.noisy import NoisyDense
from tests.learning.lessons import Corridor, mean_return, train

pytestmark = [pytest.mark.learning, pytest.mark.timeout(400)]
STEPS = 20_000


def reached(length=20, limit=40, steps=STEPS, seed=0, **options) -> tuple[int, float]:
    """How often training came to the end, and the return of the greedy policy afterwards (1: it goes there)."""
    env = Corridor(length=length, limit=limit)
    agent = train(env, steps, seed=seed, updates_per_step=0.25, gamma=0.97, **options)
    return env.reached, mean_return(agent, Corridor(length=length, limit=limit), 8)


def test_plain_exploration_does_not_get_there():
    assert reached()[1] == 0


@pytest.mark.parametrize(
    "extras",
    [
        lambda build, spec: [Curiosity(build, spec, 1.0, inverse=True)],
        lambda build, spec: [RND(build, spec, 4, temperature=0.3, bonus=0.0)],
        lambda build, spec: [RND(build, spec, 1, temperature=1.0, bonus=0.1)],
    ],
    ids=["curiosity", "rnd choice", "rnd bonus"],
)
def test_novelty_leads_there(extras):
    times, final = reached(extras=extras)
    assert times > 20 and final == 1


class NoisyPolicy(keras.layers.Layer):
    """One noisy hidden layer and a noisy head."""

    def __init__(self, spec):
        super().__init__()
        self.spec, self.hidden, self.head = spec, NoisyDense(32, "relu", sigma=0.5), NoisyDense(spec.choices, sigma=0.5)

    def call(self, z):
        return ActionDistribution(self.spec, logits=self.head(self.hidden(z)))


class NoisyQ(keras.layers.Layer):
    def __init__(self, spec):
        super().__init__()
        self.hidden, self.head = NoisyDense(32, "relu", sigma=0.5), NoisyDense(spec.columns, sigma=0.5)

    def call(self, z, continuous_action):
        return self.head(self.hidden(tf.concat([z, continuous_action], -1)))


def test_noise_in_the_weights_explores_where_entropy_is_not_paid_for():
    """With a temperature near 0 a policy follows whatever its first values say; noisy layers keep trying."""
    nn = ModuleType("noisy")
    nn.ModelPolicy, nn.ModelQ, nn.__file__ = NoisyPolicy, NoisyQ, "noisy.py"
    cold = {"length": 8, "limit": 16, "use_auto_alpha": False, "init_log_alpha": -9.0, "random_steps": 0}
    assert reached(**cold)[1] == 0
    times, final = reached(**cold, module=nn, kwargs={"ModelPolicy": {}, "ModelQ": {}})
    assert times > 20 and final == 1
