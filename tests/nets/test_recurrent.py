"""The memory: a whole window equals its steps one by one, and the burn-in skips padding."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from sac.backend import tf
from sac.errors import UserError
from sac.nets.defaults import ModelRep
from sac.nets.recurrent import Recurrent, warmed_up
from sac.types import Sensor, Spec

SPEC = Spec((Sensor("v", (3,)), Sensor("eye", (8, 8, 1), "uint8")), 2, (3,))


def inputs(k=4, steps=6, seed=0):
    rng = np.random.default_rng(seed)
    obs = {"v": rng.normal(size=(k, steps, 3)), "eye": rng.random((k, steps, 8, 8, 1))}
    obs = {name: x.astype(np.float32) for name, x in obs.items()}
    return obs, rng.normal(size=(k, steps, 5)).astype(np.float32)


def rep(cell):
    keras.utils.set_random_seed(0)
    return ModelRep(SPEC, cell=cell, units=7)


def one_by_one(net, obs, previous, state):
    found = []
    for t in range(previous.shape[1]):
        z, state = net({name: x[:, t] for name, x in obs.items()}, previous[:, t], state)
        found.append(z)
    return np.stack(found, 1), state


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_window_equals_its_steps(cell, jit):
    net, (obs, previous) = rep(cell), inputs()
    state = np.random.default_rng(1).normal(size=(4, net.state_size)).astype(np.float32)
    assert net.state_size == {"gru": 7, "lstm": 14}[cell]
    z, last = tf.function(net, jit_compile=jit)(obs, previous, state)
    singly, expected = one_by_one(net, obs, previous, state)
    np.testing.assert_allclose(z, singly, atol=1e-5)
    np.testing.assert_allclose(last, expected, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_weight_is_trained_and_every_input_heard_many_steps_later(cell):
    net, (obs, previous) = rep(cell), inputs()
    previous, first = tf.constant(previous), tf.constant(obs["v"])
    with tf.GradientTape() as tape:
        tape.watch([previous, first])
        z, _ = net({**obs, "v": first}, previous, tf.zeros((4, net.state_size)))
        loss = tf.reduce_sum(z[:, -1, -7:] ** 2)
    of_previous, of_first, *of_weights = tape.gradient(loss, [previous, first, *net.trainable_weights])
    assert np.abs(of_previous[:, 0]).max() > 0 and np.abs(of_first[:, 0]).max() > 0
    assert all(np.abs(g).max() > 0 for g in of_weights)


def test_an_unknown_cell_is_refused():
    with pytest.raises(UserError, match=r"cell=elman: allowed is gru \| lstm"):
        Recurrent(4, "elman")


@pytest.mark.parametrize("real_steps", [0, 2, 5])
def test_the_warm_up_passes_over_padding_in_front(real_steps):
    net, (obs, previous) = rep("gru"), inputs(steps=5)
    start = np.random.default_rng(1).normal(size=(4, 7)).astype(np.float32)
    real = np.tile(np.arange(5) >= 5 - real_steps, (4, 1)).astype(np.float32)
    found = tf.function(warmed_up, jit_compile=True)(net, obs, previous, start, real)
    late = {name: x[:, 5 - real_steps :] for name, x in obs.items()}
    _, expected = one_by_one(net, late, previous[:, 5 - real_steps :], start) if real_steps else (0, start)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_burn_in_leaves_the_state_alone():
    net, (obs, previous) = rep("gru"), inputs(steps=5)
    state = tf.ones((4, 7))
    none = {name: x[:, :0] for name, x in obs.items()}
    assert warmed_up(net, none, previous[:, :0], state, tf.zeros((4, 0))) is state


@pytest.mark.slow
def test_gradients_pass_through_the_warm_up():
    net, (obs, previous) = rep("gru"), inputs(steps=5)
    obs, previous = {name: tf.constant(x) for name, x in obs.items()}, tf.constant(previous)

    @tf.function(jit_compile=True, autograph=False)
    def gradient(state):
        with tf.GradientTape() as tape:
            tape.watch(state)
            out = warmed_up(net, obs, previous, state, tf.ones((4, 5)))
        return tape.gradient(out, state)

    assert np.abs(gradient(tf.zeros((4, 7)))).max() > 1e-3
