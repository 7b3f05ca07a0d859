"""The default networks of the extras: leading axes, sizes, and that every weight gets a gradient."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.errors import UserError
from sac.nets import auxiliary_defaults as nets
from sac.nets.contract import Builder
from sac.nets.conv import DeconvStack
from sac.types import Sensor, Spec

SENSORS = (Sensor("v", (3,)), Sensor("eye", (7, 9, 2), "uint8"), Sensor("grid", (4, 2)), Sensor("hidden", (2,)))
SPEC = Spec(SENSORS, 2, (3, 2), feature=5, extra=("hidden",))
BLIND = Spec(SENSORS[:1], 2, feature=5)
Z, NEXT, ACTION = (np.random.default_rng(i).normal(size=(4, 6, n)).astype(np.float32) for i, n in enumerate((5, 5, 7)))


def made(name, spec=SPEC):
    return getattr(nets, name)(spec, hidden=[12])


@pytest.mark.parametrize(
    ("name", "inputs", "width"),
    [
        ("ModelForward", (Z, ACTION), 5),
        ("ModelInverse", (Z, NEXT), 7),
        ("ModelRND", (Z, ACTION), 64),
        ("ModelReward", (Z,), 1),
    ],
)
def test_width_leading_axes_and_gradient(name, inputs, width):
    net = made(name)
    with tf.GradientTape() as tape:
        together = net(*inputs)
        loss = tf.reduce_sum(together**2)
    assert together.shape == (4, 6, width)
    np.testing.assert_allclose(together, [net(*(x[i] for x in inputs)) for i in range(4)], rtol=1e-4, atol=1e-5)
    for x in (*inputs, *net.trainable_weights):
        assert np.ptp(x) >= 0
    assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, [w.value for w in net.trainable_weights]))


@pytest.mark.parametrize(("name", "inputs"), [("ModelForward", (Z, ACTION)), ("ModelInverse", (Z, NEXT))])
def test_both_inputs_matter(name, inputs):
    net = made(name)
    found = net(*inputs)
    assert (found != net(inputs[0] + 1, inputs[1])).numpy().any()
    assert (found != net(inputs[0], inputs[1] + 1)).numpy().any()


def test_transition_is_a_normal_of_the_next_z_with_a_floor_under_its_spread():
    net = nets.ModelTransition(SPEC, hidden=[12], min_std=0.3)
    p = net(np.concatenate([Z, NEXT[..., :2]], -1), ACTION)  # with two columns of extra data
    assert p.mean().shape == p.stddev().shape == (4, 6, 5)
    net.body.stack[-1].bias.assign([0.0] * 5 + [-100.0] * 5)
    np.testing.assert_allclose(net(np.zeros((1, 7)), np.zeros((1, 7))).stddev(), np.full((1, 5), 0.3), rtol=1e-5)


def test_observations_are_reconstructed_in_their_shapes_and_hidden_ones_are_not():
    net = made("ModelObservation")
    with tf.GradientTape() as tape:
        found = net(Z)
        loss = sum(tf.reduce_sum(x**2) for x in found.values())
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "v": (4, 6, 3), "eye": (4, 6, 7, 9, 2), "grid": (4, 6, 4, 2),
    }  # fmt: skip
    for name, x in net(Z[:, 2]).items():
        np.testing.assert_allclose(x, found[name][:, 2], rtol=1e-4, atol=1e-5)
    assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, [w.value for w in net.trainable_weights]))
    assert set(made("ModelObservation", BLIND)(Z)) == {"v"}
    assert set(made("ModelObservation", Spec(SENSORS, 2, feature=5, extra=("eye",)))(Z)) == {"v", "grid", "hidden"}
    assert set(made("ModelObservation", Spec(SENSORS[1:2], 2, feature=5))(Z)) == {"eye"}


@pytest.mark.parametrize("size", [(4, 4), (1, 9), (20, 33), (40, 32), (84, 84), (64, 70)])
def test_deconv_stack_makes_pictures_of_any_size(size):
    stack = DeconvStack((*size, 3))
    together = stack(Z[:2, :2])
    assert together.shape == (2, 2, *size, 3)
    bright = stack(1e3 * Z)
    assert 0 <= np.min(bright) < np.max(bright) <= 1
    np.testing.assert_allclose(together, [stack(row) for row in Z[:2, :2]], rtol=1e-4, atol=1e-5)


def test_deconv_stack_takes_a_plan():
    stack = DeconvStack((10, 10, 1), layers=[(3, 4, 2), (5, 4, 2)])
    assert stack(Z).shape == (4, 6, 10, 10, 1)
    assert [tuple(d.kernel.shape) for d in stack.deconvs] == [(4, 4, 3, 5), (4, 4, 1, 3)]
    assert stack.dense.units == 3 * 3 * 5


def test_builder_knows_them():
    assert isinstance(Builder(None, {"ModelRND": {"features": 3}}).make("ModelRND", SPEC), nets.ModelRND)
    with pytest.raises(UserError, match=r"ModelFoward.*ModelForward.*ModelQ.*ModelTransition"):
        Builder(None, {"ModelFoward": {}})
