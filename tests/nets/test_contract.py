"""The errors that a user gets whose network breaks the contract of nn.py."""

from __future__ import annotations

from types import ModuleType

import pytest

from sac.backend import keras, tf
from sac.errors import UserError
from sac.nets import defaults
from sac.nets.action_distribution import ActionDistribution, TanhNormal
from sac.nets.contract import Builder, build_networks
from sac.types import Sensor, Spec

SPEC = Spec((Sensor("v", (4,)),), 2, (3,))
SMALL = {"ModelPolicy": {"hidden": [8]}, "ModelQ": {"hidden": [8]}}


def layer(call, **members):
    """A user's class with this `call`."""

    def __init__(self, spec, **kwargs):  # noqa: N807
        keras.layers.Layer.__init__(self)
        self.dense = keras.layers.Dense(5)
        self.dense.build((None, 4))

    return type("Mine", (keras.layers.Layer,), {"__init__": __init__, "call": call, **members})


def build(kwargs=SMALL, spec=SPEC, options=None, **classes):
    module = ModuleType("mine")
    module.__file__ = "/somewhere/nn.py"
    vars(module).update(classes)
    return build_networks(
        spec, Builder(module, {k: v for k, v in kwargs.items() if k not in classes}), 2, **options or {}
    )


def message(**classes) -> str:
    with pytest.raises(UserError) as error:
        build(**classes)
    return str(error.value)


def says(text: str, *parts: str) -> None:
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


def normal(self, z, width=2):
    mean = tf.zeros((*z.shape[:-1], width))
    return TanhNormal(mean, mean + 1)


def logits(z, width=3):
    return tf.zeros((*z.shape[:-1], width))


def test_a_module_changes_only_what_it_defines():
    nets = build(ModelRep=layer(lambda self, obs, previous, state: (self.dense(obs["v"]), state)))
    assert nets.spec.feature == 5
    assert isinstance(nets.policy, defaults.ModelPolicy)
    assert nets.rep is not nets.target_rep


def test_keywords_reach_their_class():
    nets = build({"ModelQ": {"hidden": [7]}, "ModelPolicy": {"hidden": [9, 11]}})
    assert nets.critics[0].body.stack[0].units == 7
    assert [d.units for d in nets.policy.body.stack] == [9, 11, 2 * 2 + 3]


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda self, obs, p, s: self.dense(obs["v"]), ["(z, state)"]),
        (lambda self, obs, p, s: (obs["v"][..., None], s), ["z", "(3, features)", "(3, 4, 1)"]),
        (lambda self, obs, p, s: (self.dense(obs["v"])[:2], s), ["z", "(3, 5)", "(2, 5)"]),
        (lambda self, obs, p, s: ([1.0], s), ["z", "(3, features)", "list"]),
        (lambda self, obs, p, s: (self.dense(obs["v"]), tf.zeros((3, 9))), ["state", "(3, 0)", "(3, 9)"]),
        (lambda self, obs, p, s: (self.dense(obs["eye"]), s), ["failed", "eye", "(3, 4)"]),
        (lambda self, obs, p, s: (tf.reshape(obs["v"], [-1, 4]), s), ["z", "(3, 5, 4)", "(15, 4)"]),
    ],
)
def test_wrong_representations(call, parts):
    says(message(ModelRep=layer(call)), "ModelRep in /somewhere/nn.py", *parts)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda self, z: z, ["ActionDistribution", "Tensor"]),
        (lambda self, z: ActionDistribution(SPEC, None, logits(z)), ["no continuous part", "2 continuous"]),
        (
            lambda self, z: ActionDistribution(SPEC, normal(self, z, 1), logits(z)),
            ["continuous actions", "(3, 2)", "(3, 1)"],
        ),
        (lambda self, z: ActionDistribution(SPEC, normal(self, z)), ["logits", "(3, 3)", "NoneType"]),
        (lambda self, z: ActionDistribution(SPEC, normal(self, z), logits(z, 4)), ["logits", "(..., 3)", "(3, 4)"]),
        (
            lambda self, z: ActionDistribution(SPEC, Summed(normal(self, z)), logits(z)),
            ["log-probabilities", "(3, 2)", "(3,)"],
        ),
        (
            lambda self, z: ActionDistribution(SPEC, normal(self, z[:, 0] if len(z.shape) > 2 else z), logits(z)),
            ["continuous actions", "(3, 5, 2)", "(3, 2)"],
        ),
    ],
)
def test_wrong_policies(call, parts):
    says(message(ModelPolicy=layer(call)), "ModelPolicy in /somewhere/nn.py", *parts)


class Summed:
    """A user's distribution that sums the log-probabilities of its actions, though the caller does that."""

    def __init__(self, inner):
        self.inner, self.from_noise, self.mode = inner, inner.from_noise, inner.mode

    def log_probs(self, raw):
        return tf.reduce_sum(self.inner.normal.log_prob(raw), axis=-1)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda self, z, a: self.dense(z), ["Q columns", "(3, 3)", "(3, 5)"]),
        (lambda self, z, a: tf.reduce_sum(z, -1), ["Q columns", "(3, 3)", "(3,)"]),
        (lambda self, z, a: tf.concat([z, a], -1) @ tf.ones((9, 3)), ["failed", "(3, 4), (3, 2)"]),
        (lambda self, z, a: tf.ones((3, 3)), ["Q columns", "(3, 5, 3)", "(3, 3)"]),
    ],
)
def test_wrong_critics(call, parts):
    says(message(ModelQ=layer(call)), "ModelQ in /somewhere/nn.py", *parts)


def test_a_class_that_cannot_be_made_is_named_with_its_keywords():
    with pytest.raises(UserError, match=r"default ModelQ cannot be made.*depth.*base.nn_kwargs.ModelQ"):
        build({"ModelQ": {"depth": 3}})

    class ModelRep(keras.layers.Layer):
        def __init__(self, spec):
            raise KeyError("camera")

    says(message(ModelRep=ModelRep), "ModelRep in /somewhere/nn.py cannot be made", "KeyError", "camera")


def test_keywords_of_an_unknown_class_are_refused():
    with pytest.raises(UserError, match=r"ModelPolice.*ModelPolicy.*ModelQ"):
        build({"ModelPolice": {}})


def remembering(self, obs, previous, state):
    """Counts its steps in the state, for single steps and for windows, and returns the count as a feature."""
    x, steps = obs["v"], 1 if len(obs["v"].shape) == 2 else obs["v"].shape[1]
    if steps == 1:
        return tf.concat([x, state + 1], -1), state + 1
    counts = state[:, None] + tf.range(1.0, steps + 1)[None, :, None]
    return tf.concat([x, counts], -1), state + steps


def test_a_recurrent_representation_gets_state_and_previous_action():
    seen = []

    def call(self, obs, previous, state):
        seen.append((tuple(previous.shape), tuple(state.shape)))
        return remembering(self, obs, previous, state)

    nets = build(ModelRep=layer(call, state_size=6), options={"recurrent": True})
    assert nets.state_size == 6 and nets.previous_size == 2 + 3 and nets.spec.feature == 4 + 6
    assert set(seen) == {((3, 5), (3, 6)), ((3, 5, 5), (3, 6))}


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda self, obs, p, s: (obs["v"] + s[..., :1], s), ["failed"]),
        (lambda self, obs, p, s: (obs["v"], s + 1), ["steps one by one"]),
        (lambda self, obs, p, s: (remembering(self, obs, p, s)[0][..., ::-1], s), ["steps one by one"]),
    ],
)
def test_wrong_memories(call, parts):
    with pytest.raises(UserError) as error:
        build(ModelRep=layer(call, state_size=6), options={"recurrent": True})
    says(str(error.value), "ModelRep in /somewhere/nn.py", *parts)


def test_memory_and_the_switch_must_agree():
    says(message(ModelRep=layer(remembering, state_size=6)), "state_size 6", "sac.use_rnn=true")
    with pytest.raises(UserError, match=r"state_size 0.*sac\.use_rnn=false"):
        build(ModelRep=layer(lambda self, obs, p, s: (obs["v"], s)), options={"recurrent": True})
