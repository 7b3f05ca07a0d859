"""The default networks of the extras: prediction, curiosity, RND. A scene's `nn.py` may bring its own, same calls.

All take any leading axes. Actions are [..., A + choices]: continuous in [-1, 1], every discrete choice as one-hot.
"""

from __future__ import annotations

import math

from sac.backend import keras, tf, tfd
from sac.nets.conv import DeconvStack
from sac.nets.defaults import HIDDEN
from sac.nets.mlp import MLP


class ModelForward(keras.layers.Layer):
    """Curiosity: what follows an action. `spec.feature` is the width of what it sees and predicts: z or phi(z)."""

    def __init__(self, spec, hidden=HIDDEN, **kwargs):
        super().__init__(**kwargs)
        self.body = MLP(hidden, spec.feature)

    def call(self, z, action):
        """z [..., F], action [..., A + choices] -> the next z [..., F]."""
        return self.body(tf.concat([z, action], axis=-1))


class ModelInverse(keras.layers.Layer):
    """Curiosity: which action led from one state to the next."""

    def __init__(self, spec, hidden=HIDDEN, **kwargs):
        super().__init__(**kwargs)
        self.body = MLP(hidden, spec.action_size)

    def call(self, z, next_z):
        """z, next_z [..., F] -> [..., A + choices]: the continuous action, then the logits of every choice."""
        return self.body(tf.concat([z, next_z], axis=-1))


class ModelRND(keras.layers.Layer):
    """RND: an embedding of state and action; made twice, as predictor and as frozen target."""

    def __init__(self, spec, hidden=HIDDEN, features=64, **kwargs):
        super().__init__(**kwargs)
        self.body = MLP(hidden, features)

    def call(self, z, action):
        """z [..., F], action [..., A + choices] -> [..., features]."""
        return self.body(tf.concat([z, action], axis=-1))


class ModelTransition(keras.layers.Layer):
    """Prediction: the distribution of the next z. `spec.feature` is the width of z, with or without extra data."""

    def __init__(self, spec, hidden=HIDDEN, min_std=0.1, **kwargs):
        super().__init__(**kwargs)
        self.feature, self.min_std = spec.feature, min_std  # a floor keeps log p, and so its gradient, in bounds
        self.body = MLP(hidden, 2 * spec.feature)

    def call(self, z, action):
        """z [..., F + extra], action [..., A + choices] -> tfd.Normal [..., F]."""
        mean, spread = tf.split(self.body(tf.concat([z, action], axis=-1)), 2, axis=-1)
        return tfd.Normal(mean, tf.nn.softplus(spread) + self.min_std)


class ModelReward(keras.layers.Layer):
    """Prediction: the reward that came with a state."""

    def __init__(self, spec, hidden=HIDDEN, **kwargs):
        super().__init__(**kwargs)
        self.body = MLP(hidden, 1)

    def call(self, z):
        """z [..., F] of the state reached -> [..., 1]."""
        return self.body(z)


class ModelObservation(keras.layers.Layer):
    """Prediction: the observations behind z; images by a DeconvStack, all the rest by one MLP."""

    def __init__(self, spec, hidden=HIDDEN, **kwargs):
        super().__init__(**kwargs)
        self.images = {s.name: DeconvStack(s.shape) for s in spec.seen if s.is_image}
        self.flat = {s.name: s.shape for s in spec.seen if not s.is_image}
        self.body = MLP(hidden, sum(map(math.prod, self.flat.values()))) if self.flat else None

    def call(self, z):
        """z [..., F] -> {sensor: [..., *shape]} of every sensor that the representation sees; images in [0, 1]."""
        found = {name: stack(z) for name, stack in self.images.items()}
        if self.flat:
            parts = tf.split(self.body(z), [math.prod(shape) for shape in self.flat.values()], axis=-1)
            for (name, shape), x in zip(self.flat.items(), parts):
                lead = tf.shape(x)[:-1]
                found[name] = tf.ensure_shape(tf.reshape(x, tf.concat([lead, shape], 0)), (*x.shape[:-1], *shape))
        return found
