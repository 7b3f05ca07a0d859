"""ICM: what the bonus is, and which loss trains what."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.errors import UserError
from sac.extras.curiosity import FEATURE_WIDTH, Curiosity, inverse_error
from sac.extras.extra import Window
from sac.types import Spec
from tests.extras.extras_kit import (
    SENSORS,
    SPECS,
    assert_compiled_equals_eager,
    assert_padding_means_nothing,
    builder,
    gradients,
    layer,
    reached,
    train,
    window,
)


def make(spec, inverse=True, strength=1.0, **classes) -> Curiosity:
    return Curiosity(builder(**classes), spec, strength, inverse)


def mlp(net, x):
    """The forward pass of our MLP in NumPy."""
    for dense in net.stack[:-1]:
        x = np.maximum(x @ dense.kernel.numpy() + dense.bias.numpy(), 0)
    return x @ net.stack[-1].kernel.numpy() + net.stack[-1].bias.numpy()


def test_bonus_by_hand():
    """A forward model that adds the action to the first feature; expected values by hand, z in R^2."""
    spec = Spec(SENSORS, 1, feature=2)
    extra = make(spec, inverse=False, strength=3.0, ModelForward=layer(lambda self, z, a: z + a * [1.0, 0.0]))
    z = [[[0.0, 0.0], [1.0, 2.0], [1.5, 2.0], [9.0, 9.0]]]
    one = tf.ones((1, 3))
    w = Window({}, tf.zeros((1, 4, 2)), tf.constant(z), tf.constant([[[0.5], [0.5], [1.0]]]), one, one, tf.zeros(2))
    errors = [0.5 * (0.5**2 + 2**2), 0.0, 0.5 * (6.5**2 + 7**2)]
    np.testing.assert_allclose(extra.bonus(w), [3 * np.array(errors)], rtol=1e-6)
    np.testing.assert_allclose(extra.losses(w)["forward"], np.mean(errors), rtol=1e-6)
    w = w._replace(valid=tf.constant([[1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(extra.bonus(w), [[3 * errors[0], 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(extra.losses(w)["forward"], np.mean(errors[:2]), rtol=1e-6)


@pytest.mark.parametrize("kind", SPECS)
def test_bonus_and_losses_are_those_of_numpy_on_phi(kind):
    extra, w = make(SPECS[kind], strength=0.7), window(SPECS[kind])
    valid, action = w.valid.numpy(), w.action.numpy()
    phi = mlp(extra.encoder, w.z_target.numpy())
    assert phi.shape[-1] == FEATURE_WIDTH
    guess = mlp(extra.forward.body, np.concatenate([phi[:, :-1], action], -1))
    error = 0.5 * ((guess - phi[:, 1:]) ** 2).sum(-1)
    np.testing.assert_allclose(extra.bonus(w), 0.7 * error * valid, rtol=1e-4, atol=1e-5)
    losses = extra.losses(w)
    np.testing.assert_allclose(losses["forward"], (error * valid).sum() / valid.sum(), rtol=1e-4)
    back = inverse_error(mlp(extra.inverse.body, np.concatenate([phi[:, :-1], phi[:, 1:]], -1)), action, SPECS[kind])
    np.testing.assert_allclose(losses["inverse"], (back.numpy() * valid).sum() / valid.sum(), rtol=1e-4)


def test_inverse_error_is_mean_squared_error_plus_cross_entropies():
    spec = SPECS["hybrid"]  # two continuous actions, branches of three and two choices
    guess = np.array([0.5, -1.0, 1.0, 2.0, 3.0, 0.0, 1.0], np.float32)
    action = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0], np.float32)
    first = -np.log(np.exp(2) / np.exp([1, 2, 3]).sum())
    second = -np.log(np.e / (1 + np.e))
    expected = (0.5**2 + 1.0**2) / 2 + first + second
    np.testing.assert_allclose(inverse_error(guess, action, spec), expected, rtol=1e-5)


def test_inverse_error_of_missing_kinds_is_zero():
    action = np.array([[0.0, 1.0, 0.0, 0.0]], np.float32)
    sure = 50 * action
    np.testing.assert_allclose(inverse_error(sure, action, SPECS["discrete"]), [0.0], atol=1e-6)
    continuous = np.array([[0.3, -0.2]], np.float32)
    np.testing.assert_array_equal(inverse_error(continuous, continuous, SPECS["continuous"]), [0.0])


@pytest.mark.parametrize("kind", SPECS)
def test_inverse_loss_alone_shapes_the_encoder(kind):
    extra, w = make(SPECS[kind]), window(SPECS[kind])
    assert reached(extra, "forward", w) == {"forward"}
    assert reached(extra, "inverse", w) == {"encoder", "inverse"}


def test_every_weight_is_trained():
    extra, w = make(SPECS["hybrid"]), window(SPECS["hybrid"], full=True)
    forward, inverse = (gradients(extra, name, w)[0] for name in ("forward", "inverse"))
    for weight, a, b in zip(extra.trained, forward, inverse):
        assert max(np.abs(g).max() for g in (a, b) if g is not None) > 0, weight.path


@pytest.mark.parametrize("inverse", [True, False])
def test_nothing_reaches_the_representations(inverse):
    extra, w = make(SPECS["hybrid"], inverse), window(SPECS["hybrid"])
    for name in extra.loss_names:
        assert gradients(extra, name, w, w.z, w.z_target)[1] == [None, None]


def test_only_the_target_representation_is_read():
    extra, w = make(SPECS["continuous"]), window(SPECS["continuous"])
    other = w._replace(z=w.z + 1.0)
    np.testing.assert_array_equal(extra.bonus(w), extra.bonus(other))
    assert extra.losses(w)["inverse"] == extra.losses(other)["inverse"]
    assert extra.losses(w)["inverse"] != extra.losses(w._replace(z_target=w.z))["inverse"]


def test_without_inverse_there_is_a_forward_model_alone():
    extra = make(SPECS["continuous"], inverse=False)
    assert set(extra.layers()) == {"forward"} and extra.loss_names == ("forward",)
    assert set(extra.losses(window(SPECS["continuous"]))) == {"forward"}
    assert extra.forward.body.stack[-1].units == SPECS["continuous"].feature
    assert set(make(SPECS["continuous"]).layers()) == {"encoder", "forward", "inverse"}


@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("kind", SPECS)
def test_padding_means_nothing(kind, inverse):
    assert_padding_means_nothing(lambda: make(SPECS[kind], inverse), SPECS[kind])


@pytest.mark.slow
@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("kind", SPECS)
def test_compiled_equals_eager(kind, inverse):
    assert_compiled_equals_eager(lambda: make(SPECS[kind], inverse), SPECS[kind])


@pytest.mark.slow
def test_curious_about_actions_and_not_about_noise():
    """z = (place, noise): the forward model on z cannot predict the noise, and phi learns to ignore it.

    Compared is the bonus of a step whose noise is large with that of one without, after training.
    """
    spec = Spec(SENSORS, 1, feature=2)

    def walk(seed, spread=1.0):
        rng = np.random.default_rng(seed)
        w, action = window(spec, full=True), rng.uniform(-1, 1, (64, 3, 1))
        place = np.concatenate([rng.uniform(-1, 1, (64, 1, 1)), action], 1).cumsum(1)
        z = tf.constant(np.concatenate([place, spread * rng.normal(size=(64, 4, 1))], -1), tf.float32)
        one = tf.ones((64, 3))
        return w._replace(obs={}, z=z, z_target=z, action=tf.constant(action, tf.float32), reward=one, valid=one)

    ratio = {}
    for inverse in (True, False):
        extra = make(spec, inverse)
        losses = train(extra, walk, 600)
        assert losses[-1]["forward"] < 0.6 * losses[0]["forward"]
        noisy, calm = (float(tf.reduce_mean(extra.bonus(walk(10_000, spread)))) for spread in (1.0, 0.0))
        ratio[inverse] = noisy / calm
    assert ratio[False] > 5 * ratio[True], ratio  # measured with three seeds: 270 to 430 against 1.6 to 3.8


@pytest.mark.parametrize(
    ("name", "call", "inverse", "parts"),
    [
        ("ModelForward", lambda self, z, a: z[..., :3], True, [f"(3, {FEATURE_WIDTH})", "(3, 3)"]),
        ("ModelForward", lambda self, z, a: z[..., :3], False, ["(3, 5)", "(3, 3)"]),
        ("ModelForward", lambda self, z, a: tf.reduce_mean(z, 1), True, ["(3,)"]),
        ("ModelInverse", lambda self, z, nz: z, True, ["(3, 7)", f"(3, {FEATURE_WIDTH})"]),
        ("ModelInverse", lambda self, z, nz: tf.zeros((3, 7)), True, ["(3, 5, 7)", "(3, 7)"]),
        ("ModelInverse", lambda self, z: z, True, ["failed"]),
    ],
)
def test_wrong_networks_are_named(name, call, inverse, parts):
    with pytest.raises(UserError) as error:
        make(SPECS["hybrid"], inverse, **{name: layer(call)})
    for part in (f"{name} in /somewhere/nn.py", *parts):
        assert part in str(error.value)
