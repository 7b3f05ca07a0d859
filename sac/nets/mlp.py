"""Fully connected stacks."""

from __future__ import annotations

from sac.backend import keras, tf


class MLP(keras.layers.Layer):
    """Dense layers `units` with `activation`, then a linear layer of `output` units (None: no such layer)."""

    def __init__(self, units, output=None, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.stack = [keras.layers.Dense(n, activation=activation) for n in units]
        if output is not None:
            self.stack.append(keras.layers.Dense(output))

    def build(self, shape):
        for layer in self.stack:
            layer.build(shape)
            shape = (*shape[:-1], layer.units)

    def call(self, x):
        """[..., F] -> [..., output]."""
        for layer in self.stack:
            x = layer(x)
        return x


def flat_concat(parts):
    """Joins tensors [..., F_i] on their last axis; a single part passes untouched."""
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
