"""Convolutional stacks for images of common sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sac.backend import Tensor, keras, tf

Layers = Sequence[tuple[int, int, int]]  # (filters, kernel, stride) of each convolution

# The layers for images whose smaller side has at least so many pixels.
STACK_BY_MIN_SIDE_PIXELS: dict[int, Layers] = {
    64: [(32, 8, 4), (64, 4, 2), (64, 3, 1)],  # DQN's, for 64 to 128 pixels
    32: [(16, 4, 2), (32, 4, 2), (32, 3, 1)],
    0: [(16, 4, 2), (32, 3, 2)],
}
SAME_PADDING_BELOW_PIXELS = 32  # smaller side of an image; without padding little would be left of it


def stack_for(height: int, width: int) -> Layers:
    """The layers for an image of this size in pixels."""
    return next(layers for side, layers in STACK_BY_MIN_SIDE_PIXELS.items() if min(height, width) >= side)


class ConvStack(keras.layers.Layer):
    """Convolutions with ReLU, then one dense ReLU layer of `units`. [..., H, W, channels] in [0, 1] -> [..., units]."""

    def __init__(self, layers: Layers | None = None, units: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.plan, self.units = layers, units

    def build(self, shape: tuple[int, ...]) -> None:
        *_, h, w, _ = shape
        padding = "same" if min(h, w) < SAME_PADDING_BELOW_PIXELS else "valid"
        self.convs = [
            keras.layers.Conv2D(filters, kernel, stride, padding=padding, activation="relu")
            for filters, kernel, stride in self.plan or stack_for(h, w)
        ]
        self.dense = keras.layers.Dense(self.units, activation="relu")
        x: Any = (None, *shape[-3:])  # a shape of Keras
        for conv in self.convs:
            conv.build(x)
            x = conv.compute_output_shape(x)
        self.flat = int(x[1] * x[2] * x[3])
        self.dense.build((None, self.flat))

    def call(self, image: Tensor) -> Tensor:
        """[..., H, W, channels] -> [..., units]."""
        lead = tf.shape(image)[:-3]
        x = tf.reshape(image, tf.concat([[-1], tf.shape(image)[-3:]], 0))
        x = tf.ensure_shape(x, (None, *image.shape[-3:]))
        for conv in self.convs:
            x = conv(x)
        x = self.dense(tf.reshape(x, [-1, self.flat]))
        out = tf.reshape(x, tf.concat([lead, [self.units]], 0))
        return tf.ensure_shape(out, (*image.shape[:-3], self.units))


class DeconvStack(keras.layers.Layer):
    """The reverse of a ConvStack: a dense layer, then transposed convolutions, a sigmoid at the end.

    [..., F] -> [..., *image] in [0, 1], where `image` is (H, W, channels). A side that the strides do not divide is
    made too large and cropped.
    """

    def __init__(self, image: Sequence[int], layers: Layers | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.image, self.plan = tuple(image), layers or stack_for(*image[:2])

    def build(self, shape: tuple[int, ...]) -> None:
        height, width, channels = self.image
        shrink = math.prod(stride for _, _, stride in self.plan)
        self.grid = -(-height // shrink), -(-width // shrink), self.plan[-1][0]
        outputs = [channels, *(filters for filters, _, _ in self.plan[:-1])]
        self.deconvs = [
            keras.layers.Conv2DTranspose(
                outputs[i], kernel, stride, padding="same", activation="relu" if i else "sigmoid"
            )
            for i, (_, kernel, stride) in reversed(list(enumerate(self.plan)))
        ]
        self.dense = keras.layers.Dense(math.prod(self.grid), activation="relu")
        self.dense.build((None, shape[-1]))
        x = (None, *self.grid)
        for deconv in self.deconvs:
            deconv.build(x)
            x = deconv.compute_output_shape(x)

    def call(self, z: Tensor) -> Tensor:
        """[..., F] -> [..., *image]."""
        lead = tf.shape(z)[:-1]
        x = tf.reshape(self.dense(tf.reshape(z, [-1, z.shape[-1]])), [-1, *self.grid])
        for deconv in self.deconvs:
            x = deconv(x)
        out = tf.reshape(x[:, : self.image[0], : self.image[1]], tf.concat([lead, self.image], 0))
        return tf.ensure_shape(out, (*z.shape[:-1], *self.image))
