"""Noisy layers: exploration by noise in the weights (Fortunato et al., arXiv:1706.10295)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

from sac.backend import Tensor, keras, tf

FIRST_SIGMA_FACTORISED = 0.5  # divided by sqrt(inputs); section 3.2
FIRST_SIGMA_INDEPENDENT = 0.017  # section 3.2

_now: list[tuple[Tensor, Tensor]] = []  # stack of (seed [2], scale []): the last one is used; no noise when it is empty


@contextlib.contextmanager
def drawn(seed: Tensor, scale: Tensor | float = 1.0) -> Iterator[None]:
    """A context in which every NoisyDense adds the noise of `seed` [2] int32 times `scale` to its weights.

    The same seed gives a layer the same noise each time that it is called. Outside it is a plain Dense layer.
    """
    _now.append((seed, scale))
    try:
        yield
    finally:
        _now.pop()


class NoisyDense(keras.layers.Layer):
    """A Dense layer with learned noise: y = (w + s_w e_w) x + b + s_b e_b.

    `factorised` (equations 10 and 11) draws one number for each input and output, else one for each weight (section 3).
    `sigma` is the first value of s_w and s_b; None takes the paper's.
    """

    def __init__(
        self, units: int, activation: str | None = None, factorised: bool = True, sigma: float | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.units, self.factorised, self.sigma = units, factorised, sigma
        self.activation = keras.activations.get(activation)
        self.stream = 0  # `number_streams` gives every layer of an agent another number, and so other noise

    def build(self, shape: tuple[int, ...]) -> None:
        n = shape[-1]
        bound = 1 / math.sqrt(n) if self.factorised else math.sqrt(3 / n)  # section 3.2
        first = FIRST_SIGMA_FACTORISED / math.sqrt(n) if self.factorised else FIRST_SIGMA_INDEPENDENT
        start = first if self.sigma is None else self.sigma
        mean, spread = keras.initializers.RandomUniform(-bound, bound), keras.initializers.Constant(start)
        self.kernel = self.add_weight(shape=(n, self.units), initializer=mean, name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer=mean, name="bias")
        self.kernel_sigma = self.add_weight(shape=(n, self.units), initializer=spread, name="kernel_sigma")
        self.bias_sigma = self.add_weight(shape=(self.units,), initializer=spread, name="bias_sigma")

    def call(self, x: Tensor) -> Tensor:
        """[..., F] -> [..., units]."""
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        if _now:
            seed, scale = _now[-1]
            for_kernel, for_bias = self._noise(seed)
            kernel += scale * for_kernel * self.kernel_sigma
            bias += scale * for_bias * self.bias_sigma
        return self.activation(tf.tensordot(x, kernel, 1) + bias)

    def _noise(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of the kernel [F, units] and of the bias [units]."""
        n, units = self.kernel.shape
        seed = tf.random.experimental.stateless_fold_in(seed, self.stream)
        if not self.factorised:
            normal = tf.random.stateless_normal((n + 1, units), seed)
            return normal[:n], normal[n]
        normal = tf.random.stateless_normal((n + units,), seed)
        scaled = tf.sign(normal) * tf.sqrt(tf.abs(normal))
        return scaled[:n, None] * scaled[None, n:], scaled[n:]


def number_streams(layers: Iterable[keras.layers.Layer]) -> None:
    """Numbers the NoisyDense layers inside `layers` in their order, which is the same in every process."""
    found = (inner for layer in layers for inner in layer._flatten_layers() if isinstance(inner, NoisyDense))
    for number, layer in enumerate(found):
        layer.stream = number
