"""Which rows of a window exist. A window is padded behind its episode's end; what stands there means nothing."""

from __future__ import annotations

from sac.backend import tf
from sac.extras.extra import Window


def real_states(valid):
    """1 for the states in which an action was taken and for those that it led to. valid [B, T] -> [B, T + 1]."""
    none = tf.zeros_like(valid[:, :1])
    return tf.maximum(tf.concat([valid, none], axis=1), tf.concat([none, valid], axis=1))


def without_padding(window: Window) -> Window:
    """The window with zeros where nothing is real.

    A loss of 0 on a row is not enough: 0 times a NaN in a network's input is a NaN in its weights' gradient.
    """
    step, state = window.valid > 0, real_states(window.valid) > 0
    return window._replace(
        obs={name: _kept(x, state) for name, x in window.obs.items()},
        z=_kept(window.z, state),
        z_target=_kept(window.z_target, state),
        action=_kept(window.action, step),
        reward=_kept(window.reward, step),
    )


def _kept(x, real):
    return tf.where(real[(..., *[None] * (len(x.shape) - 2))], x, tf.zeros_like(x))
