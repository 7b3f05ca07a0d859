"""Fully connected stacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sac.backend import Tensor, keras, tf


class MLP(keras.layers.Layer):
    """Dense layers `units` with `activation`, then a linear layer of `output` units (None: no such layer)."""

    def __init__(self, units: Iterable[int], output: int | None = None, activation: str = "relu", **kwargs: Any):
        super().__init__(**kwargs)
        self.stack = [keras.layers.Dense(n, activation=activation) for n in units]
        if output is not None:
            self.stack.append(keras.layers.Dense(output))

    def build(self, shape: tuple[int | None, ...]) -> None:
        for layer in self.stack:
            layer.build(shape)
            shape = (*shape[:-1], layer.units)

    def call(self, x: Tensor) -> Tensor:
        """[..., F] -> [..., output]."""
        for layer in self.stack:
            x = layer(x)
        return x


def flat_concat(parts: Sequence[Tensor]) -> Tensor:
    """Concatenates tensors [..., F_i] on their last axis; empty ones are left out, a single one stays as it is."""
    parts = [part for part in parts if part.shape[-1] != 0] or list(parts[:1])
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
