"""The default networks of the extras: prediction, curiosity, RND. A scene's `nn.py` may define its own.

All accept any leading axes. Actions are [..., A + choices]: continuous in [-1, 1], every discrete choice as one-hot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sac import backend
from sac.backend import Tensor, keras, tf
from sac.nets.conv import DeconvStack
from sac.nets.defaults import HIDDEN_UNITS
from sac.nets.mlp import MLP
from sac.types import Spec


class ModelForward(keras.layers.Layer):
    """Curiosity: predicts the features after an action. `spec.feature` is their width F, that of z or of phi(z)."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, **kwargs: Any):
        super().__init__(**kwargs)
        self.body = MLP(hidden, spec.feature)

    def call(self, z: Tensor, action: Tensor) -> Tensor:
        """z [..., F], action [..., A + choices] -> the next z [..., F]."""
        return self.body(tf.concat([z, action], axis=-1))


class ModelInverse(keras.layers.Layer):
    """Curiosity: predicts which action led from one state to the next."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, **kwargs: Any):
        super().__init__(**kwargs)
        self.body = MLP(hidden, spec.action_size)

    def call(self, z: Tensor, next_z: Tensor) -> Tensor:
        """z, next_z [..., F] -> [..., A + choices]: the continuous action, then the logits of every choice."""
        return self.body(tf.concat([z, next_z], axis=-1))


class ModelRND(keras.layers.Layer):
    """RND: an embedding of state and action. There are two instances: the predictor and the frozen target."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, features: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.body = MLP(hidden, features)

    def call(self, z: Tensor, action: Tensor) -> Tensor:
        """z [..., F], action [..., A + choices] -> [..., features]."""
        return self.body(tf.concat([z, action], axis=-1))


class ModelTransition(keras.layers.Layer):
    """Prediction: the distribution of the next z. `spec.feature` is the width F of z without extra data."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, min_std: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.feature, self.min_std = spec.feature, min_std  # the lower bound of std bounds log p and its gradient
        self.body = MLP(hidden, 2 * spec.feature)

    def call(self, z: Tensor, action: Tensor) -> backend.tfd.Normal:
        """z [..., F + extra], action [..., A + choices] -> tfd.Normal [..., F]."""
        mean, spread = tf.split(self.body(tf.concat([z, action], axis=-1)), 2, axis=-1)
        return backend.tfd.Normal(mean, tf.nn.softplus(spread) + self.min_std)


class ModelReward(keras.layers.Layer):
    """Prediction: predicts the reward that came with a state."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, **kwargs: Any):
        super().__init__(**kwargs)
        self.body = MLP(hidden, 1)

    def call(self, z: Tensor) -> Tensor:
        """z [..., F] of the state reached -> [..., 1]."""
        return self.body(z)


class ModelObservation(keras.layers.Layer):
    """Prediction: reconstructs the observations from z; images by a DeconvStack, all others by one MLP."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, **kwargs: Any):
        super().__init__(**kwargs)
        self.images = {s.name: DeconvStack(s.shape) for s in spec.seen if s.is_image}
        self.flat = {s.name: s.shape for s in spec.seen if not s.is_image}
        self.body = MLP(hidden, sum(map(math.prod, self.flat.values()))) if self.flat else None

    def call(self, z: Tensor) -> dict[str, Tensor]:
        """z [..., F] -> {sensor: [..., *shape]} of every sensor that the representation sees; images in [0, 1]."""
        found = {name: stack(z) for name, stack in self.images.items()}
        if self.body is not None:
            parts = tf.split(self.body(z), [math.prod(shape) for shape in self.flat.values()], axis=-1)
            for (name, shape), x in zip(self.flat.items(), parts):
                lead = tf.shape(x)[:-1]
                found[name] = tf.ensure_shape(tf.reshape(x, tf.concat([lead, shape], 0)), (*x.shape[:-1], *shape))
        return found
