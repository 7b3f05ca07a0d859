"""Noisy layers: exploration by noise in the weights (Fortunato et al., arXiv:1706.10295)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from sac.backend import keras, tf

_now: list = []  # (seed [2], scale []) of the noise that layers draw at the moment; empty: none


@contextlib.contextmanager
def drawn(seed, scale=1.0) -> Iterator[None]:
    """Inside, every NoisyDense has the noise of `seed` [2] int32 times `scale`; outside they are plain Dense layers.

    One seed is one draw: a layer that is called twice has the same noise both times.
    """
    _now.append((seed, scale))
    try:
        yield
    finally:
        _now.pop()


class NoisyDense(keras.layers.Layer):
    """A Dense layer with learnt noise: y = (w + s_w e_w) x + b + s_b e_b.

    `factorised` (equations 10 and 11) draws one number for each input and output, else one for each weight (section 3).
    """

    def __init__(self, units, activation=None, factorised=True, sigma=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.factorised, self.sigma = units, factorised, sigma
        self.activation = keras.activations.get(activation)
        self.stream = 0  # sets this layer's noise apart; `number_streams` gives every layer of an agent its own

    def build(self, shape):
        n = shape[-1]
        bound = 1 / math.sqrt(n) if self.factorised else math.sqrt(3 / n)  # section 3.2
        start = (0.5 / math.sqrt(n) if self.factorised else 0.017) if self.sigma is None else self.sigma
        mean, spread = keras.initializers.RandomUniform(-bound, bound), keras.initializers.Constant(start)
        self.kernel = self.add_weight(shape=(n, self.units), initializer=mean, name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer=mean, name="bias")
        self.kernel_sigma = self.add_weight(shape=(n, self.units), initializer=spread, name="kernel_sigma")
        self.bias_sigma = self.add_weight(shape=(self.units,), initializer=spread, name="bias_sigma")

    def call(self, x):
        """[..., F] -> [..., units]."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        if _now:
            seed, scale = _now[-1]
            for_kernel, for_bias = self._noise(seed)
            kernel += scale * for_kernel * self.kernel_sigma
            bias += scale * for_bias * self.bias_sigma
        return self.activation(tf.tensordot(x, kernel, 1) + bias)

    def _noise(self, seed):
        """Noise of the kernel [F, units] and of the bias [units]."""
        n, units = self.kernel.shape
        seed = tf.random.experimental.stateless_fold_in(seed, self.stream)
        if not self.factorised:
            normal = tf.random.stateless_normal((n + 1, units), seed)
            return normal[:n], normal[n]
        normal = tf.random.stateless_normal((n + units,), seed)
        scaled = tf.sign(normal) * tf.sqrt(tf.abs(normal))
        return scaled[:n, None] * scaled[None, n:], scaled[n:]


def number_streams(layers) -> None:
    """Gives every NoisyDense inside `layers` a stream of its own, in their order: the same in every process."""
    found = (inner for layer in layers for inner in layer._flatten_layers() if isinstance(inner, NoisyDense))
    for number, layer in enumerate(found):
        layer.stream = number
