"""Wrong shapes are refused when a function is called or traced, before anything can broadcast."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.ops import losses, soft_value
from sac.ops.returns import retrace, vtrace
from sac.ops.shapes import assert_equal_shape, assert_rank

NUMBERS = {"n": 2, "gamma": 0.9, "lam": 1.0, "c_cap": 1.0}


def test_the_error_names_the_tensor():
    assert_rank(2, x=np.zeros((2, 3)), y=tf.zeros((1, 1)))
    assert_equal_shape(x=np.zeros((2, 3)), y=tf.zeros((2, 3)), z=(2, 3))
    with pytest.raises(AssertionError, match=r"y must have 2 axes, found shape \(3,\)"):
        assert_rank(2, x=np.zeros((2, 3)), y=tf.zeros(3))
    with pytest.raises(AssertionError, match=r"'x'.*\(2, 3\).*'y'.*\(2, 1\)"):
        assert_equal_shape(x=np.zeros((2, 3)), y=tf.zeros((2, 1)))


def test_an_unknown_axis_of_a_traced_tensor_fits_any_size():
    seen = []

    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def check(x):
        assert_equal_shape(x=x, y=(2, 3))
        seen.append(x.shape)
        return x

    check(tf.zeros((2, 3)))
    assert seen


@pytest.mark.parametrize("wrong", ["reward", "discount", "valid", "value", "log_ratio", "soft_reward"])
def test_targets_refuse_what_would_broadcast(wrong):
    full, later = tf.ones((4, 3)), tf.ones((4, 2))
    window = dict.fromkeys(("reward", "discount", "valid", "value"), full)
    window |= dict.fromkeys(("log_ratio", "soft_reward"), later)
    vtrace(**window, rho_cap=1.0, **NUMBERS)
    window[wrong] = window[wrong][:, :1]
    with pytest.raises(AssertionError, match="shapes must be equal"):
        vtrace(**window, rho_cap=1.0, **NUMBERS)
    window["stored_q"] = window.pop("soft_reward")
    with pytest.raises(AssertionError, match="shapes must be equal"):
        retrace(**window, **NUMBERS)


def test_losses_and_values_refuse_what_would_broadcast():
    column, row = tf.ones((4, 1)), tf.ones((4, 3))
    for call in (
        lambda: losses.masked_mean(row, column),
        lambda: losses.window_error(row, column),
        lambda: losses.held_log_prob(row, column, 0.2),
        lambda: soft_value.expected_q(row[None], column, 1),
        lambda: soft_value.chosen_q(row[None], column),
        lambda: soft_value.entropy_bonus(row, column, 1.0, 1.0),
    ):
        with pytest.raises(AssertionError, match="shapes must be equal"):
            call()
