"""Prediction: the losses against NumPy, what they train, extra sensors, episode ends, pictures."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import keras, tf, tfd
from sac.errors import UserError
from sac.extras.extra import Extras
from sac.extras.prediction import Prediction, transition_loss
from tests.extras.extras_kit import (
    SEEING,
    SPECS,
    T,
    assert_compiled_equals_eager,
    assert_padding_means_nothing,
    builder,
    gradients,
    layer,
    reached,
    train,
    window,
)

ALL = {**SPECS, "seeing": SEEING}


def make(spec, kl=0.8, use_extra_data=True, **classes) -> Prediction:
    return Prediction(builder(**classes), spec, kl, use_extra_data)


def mean_over(x, mask):
    return (x * mask).sum() / mask.sum()


def test_transition_loss_is_that_of_numpy():
    rng = np.random.default_rng(0)
    mean, found = rng.normal(size=(2, 7, 3)).astype(np.float32)
    std = rng.uniform(0.2, 2, (7, 3)).astype(np.float32)
    surprise = 0.5 * ((found - mean) / std) ** 2 + np.log(std) + 0.5 * np.log(2 * np.pi)
    kl = 0.5 * (mean**2 + std**2 - 1) - np.log(std)
    loss = transition_loss(tfd.Normal(mean, std), found, 0.8)
    np.testing.assert_allclose(loss, (surprise + 0.8 * kl).mean(-1), rtol=1e-5)


def test_kl_of_a_standard_normal_is_zero():
    p, found = tfd.Normal(tf.zeros((2, 3)), tf.ones((2, 3))), tf.ones((2, 3))
    np.testing.assert_allclose(transition_loss(p, found, 100.0), transition_loss(p, found, 0.0), rtol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_losses_are_those_of_numpy(kind):
    spec = ALL[kind]
    extra, w = make(spec), window(spec)
    valid, z, target = w.valid.numpy(), w.z, w.z_target.numpy()
    states = np.maximum(np.pad(valid, [[0, 0], [0, 1]]), np.pad(valid, [[0, 0], [1, 0]]))
    hidden = [w.obs["hidden"].numpy().reshape(*states.shape, 4)] if kind == "seeing" else []
    p = extra.transition(tf.concat([z, *hidden], -1)[:, :-1], w.action)
    mean, std = p.mean().numpy(), p.stddev().numpy()
    surprise = 0.5 * ((target[:, 1:] - mean) / std) ** 2 + np.log(std) + 0.5 * np.log(2 * np.pi)
    transition = (surprise + 0.8 * (0.5 * (mean**2 + std**2 - 1) - np.log(std))).mean(-1)
    reward = (extra.reward(z[:, 1:])[..., 0].numpy() - w.reward.numpy()) ** 2
    errors = [(x.numpy() - w.obs[name].numpy()) ** 2 for name, x in extra.observation(z).items()]
    observation = sum(x.reshape(*states.shape, -1).mean(-1) for x in errors)
    expected = {
        "transition": mean_over(transition, valid),
        "reward": mean_over(reward, valid),
        "observation": mean_over(observation, states),
    }
    found = extra.losses(w)
    assert tuple(found) == tuple(expected) == extra.loss_names
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize("kind", ALL)
def test_each_loss_trains_its_model_and_every_weight_of_it(kind):
    extra, w = make(ALL[kind]), window(ALL[kind], full=True)
    for name in extra.loss_names:
        assert reached(extra, name, w) == {name}
        for weight, g in zip(extra.trained, gradients(extra, name, w)[0]):
            if any(weight is v for v in extra.layers()[name].trainable_weights):
                assert np.abs(g).max() > 0, weight.path


def test_losses_shape_the_online_representation_where_they_look_at_it_and_never_the_target():
    extra, w = make(SEEING), window(SEEING)
    valid = w.valid.numpy() > 0
    acted, led = np.pad(valid, [[0, 0], [0, 1]]), np.pad(valid, [[0, 0], [1, 0]])
    looked_at = {"transition": acted, "reward": led, "observation": acted | led}
    for name in extra.loss_names:
        online, target = gradients(extra, name, w, w.z, w.z_target)[1]
        assert target is None
        np.testing.assert_array_equal(np.abs(online).max(-1) > 0, looked_at[name], err_msg=name)


@pytest.mark.parametrize("kind", ALL)
def test_padding_means_nothing(kind):
    assert_padding_means_nothing(lambda: make(ALL[kind]), ALL[kind])


def test_padding_reaches_no_representation_either():
    """With NaN as z of padding the gradient by z is 0 there, so the representation gets 0."""
    extra, w = make(SEEING), window(SEEING)
    real = np.pad(w.valid, [[0, 0], [1, 0]], constant_values=1)[..., None] > 0
    z = tf.where(real, w.z, np.nan)
    for name in extra.loss_names:
        (online,) = gradients(extra, name, w._replace(z=z), z)[1]
        assert np.isfinite(online).all() and not online.numpy()[~real[..., 0]].any()


def test_the_final_observation_is_learnt_and_nothing_behind_it():
    extra, w = make(SPECS["continuous"]), window(SPECS["continuous"])
    assert w.valid[1].numpy().tolist() == [1.0] + [0.0] * (T - 1)
    loss = extra.losses(w)["observation"]
    for state, changes in ((1, True), (2, False)):
        v = w.obs["v"].numpy().copy()
        v[1, state] += 1
        assert (extra.losses(w._replace(obs={"v": tf.constant(v)}))["observation"] != loss) == changes


def test_extra_sensors_reach_the_transition_alone_and_only_when_wanted():
    w = window(SEEING)
    other = w._replace(obs=w.obs | {"hidden": w.obs["hidden"] + 1.0})
    for wanted in (True, False):
        extra = make(SEEING, use_extra_data=wanted)
        before, after = extra.losses(w), extra.losses(other)
        assert (before["transition"] != after["transition"]) == wanted
        assert before["reward"] == after["reward"] and before["observation"] == after["observation"]
        assert extra.transition.body.stack[0].kernel.shape[0] == 5 + 4 * wanted + 5
        assert set(extra.observation(w.z)) == {"v", "eye", "grid"}


def test_the_transition_sees_the_extra_sensors_of_its_own_state():
    extra, w = make(SEEING), window(SEEING, full=True)
    last = w.obs["hidden"].numpy().copy()
    last[:, -1] += 5
    other = w._replace(obs=w.obs | {"hidden": tf.constant(last)})
    assert extra.losses(w)["transition"] == extra.losses(other)["transition"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_compiled_equals_eager(kind):
    assert_compiled_equals_eager(lambda: make(ALL[kind]), ALL[kind])


@pytest.mark.slow
def test_losses_fall_on_a_fixed_batch():
    extra, w = make(SEEING), window(SEEING)
    losses = train(extra, lambda k: w, 150)
    for name in extra.loss_names:
        assert losses[-1][name] < 0.7 * losses[0][name], name


def test_there_is_no_bonus_and_no_preference():
    extra, w = make(SPECS["hybrid"]), window(SPECS["hybrid"])
    np.testing.assert_array_equal(extra.bonus(w), np.zeros(w.reward.shape))
    assert Extras([extra]).candidates == 1


@pytest.mark.slow
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_gate_guards_the_representation_and_never_the_models(sign):
    """A linear representation, and a critic whose gradient equals that of this loss, or its opposite."""
    spec = SPECS["continuous"]
    extra, w = make(spec), window(spec)
    kernel = keras.Variable(np.eye(3, 5, dtype=np.float32))

    @tf.function(autograph=False)
    def found(name):
        loss = extra.losses(w._replace(z=w.obs["v"] @ kernel.value))[name]
        weights = [v.value for v in extra.trained]
        mine, *expected = tf.gradients(loss, [kernel.value, *weights], unconnected_gradients="zero")
        guide = [sign * mine]
        (weights,), (summed,) = Extras([extra]).gradients([{name: loss}], [kernel], guide)
        return mine, summed, guide, weights, expected

    for name in extra.loss_names:
        mine, summed, guide, weights, expected = found(name)
        np.testing.assert_allclose(summed, guide[0] + mine * (sign > 0), rtol=1e-5)
        for a, b in zip(weights, expected):
            np.testing.assert_array_equal(a, b)


def test_pictures_show_originals_above_reconstructions():
    extra, w = make(SEEING), window(SEEING)
    pictures = Extras([extra]).pictures(w)
    assert set(pictures) == {"prediction/eye"}
    picture = pictures["prediction/eye"].numpy()
    assert picture.shape == (4, 12, 5, 3)
    np.testing.assert_array_equal(picture[:, :6], w.obs["eye"][:4, 0])
    np.testing.assert_allclose(picture[:, 6:], extra.observation(w.z)["eye"][:4, 0], rtol=1e-5)
    assert picture.min() >= 0 and picture.max() <= 1
    assert make(SPECS["hybrid"]).pictures(window(SPECS["hybrid"])) == {}


@pytest.mark.parametrize(
    ("name", "call", "parts"),
    [
        ("ModelTransition", lambda self, z, a: z, ["tfd.Normal", "Tensor"]),
        ("ModelTransition", lambda self, z, a: tfd.Normal(z, 1.0), ["(3, 5)", "(3, 9)"]),  # z has the extra data too
        ("ModelTransition", lambda self, z: z, ["failed"]),
        ("ModelReward", lambda self, z: z[..., 0], ["(3, 1)", "(3,)"]),
        ("ModelObservation", lambda self, z: z, ["['v', 'eye', 'grid']", "Tensor"]),
        ("ModelObservation", lambda self, z: {"v": z[..., :3]}, ["['v', 'eye', 'grid']", "['v']"]),
        ("ModelObservation", lambda self, z: {s.name: z for s in self.spec.seen}, ["'v'", "(3, 3)", "(3, 5)"]),
    ],
)
def test_wrong_networks_are_named(name, call, parts):
    with pytest.raises(UserError) as error:
        make(SEEING, **{name: layer(call)})
    for part in (f"{name} in /somewhere/nn.py", *parts):
        assert part in str(error.value)
