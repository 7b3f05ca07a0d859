"""The default networks, for every class that a scene's `nn.py` does not define; they are called in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sac.backend import Tensor, keras, tf
from sac.nets.action_distribution import LOG_STD_MAX, LOG_STD_MIN, ActionDistribution, TanhNormal
from sac.nets.conv import ConvStack
from sac.nets.mlp import MLP, flat_concat
from sac.nets.recurrent import NoMemory, Recurrent
from sac.types import Spec

HIDDEN_UNITS = (256, 256)  # of each hidden layer


class ModelRep(keras.layers.Layer):
    """Observations to features z: vectors as they are, images through a ConvStack, all concatenated.

    With `cell` (gru | lstm; sac.use_rnn=true sets gru) the output of a recurrent layer of `units`, which sees them and
    the previous action, is appended.
    """

    def __init__(self, spec: Spec, conv_units: int = 64, cell: str | None = None, units: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        self.sensors = spec.seen
        self.convs = {s.name: ConvStack(units=conv_units) for s in self.sensors if s.is_image}
        self.memory = Recurrent(units, cell) if cell else NoMemory()
        self.state_size = self.memory.state_size  # width of the recurrent state; 0 = memoryless

    def call(self, obs: Mapping[str, Tensor], previous_action: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step {sensor: [k, *shape]}, previous_action [k, P], state [k, S] -> z [k, F], state; or a window
        {sensor: [B, T, *shape]}, previous_action [B, T, P], state [B, S] -> z [B, T, F], last state."""
        parts = []
        for sensor in self.sensors:
            x = obs[sensor.name]
            if sensor.is_image:
                x = self.convs[sensor.name](x)
            elif len(sensor.shape) != 1:
                lead = tf.shape(x)[: len(x.shape) - len(sensor.shape)]
                size = int(tf.TensorShape(sensor.shape).num_elements())
                x = tf.reshape(x, tf.concat([lead, [size]], 0))
            parts.append(x)
        x = flat_concat(parts)
        remembered, state = self.memory(flat_concat([x, previous_action]), state)
        return flat_concat([x, remembered]), state


class ModelPolicy(keras.layers.Layer):
    """z to the distribution of actions: a state-dependent tanh-Gaussian and/or one softmax for each branch."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, **kwargs: Any):
        super().__init__(**kwargs)
        self.spec = spec
        self.body = MLP(hidden, 2 * spec.continuous + spec.choices)

    def call(self, z: Tensor) -> ActionDistribution:
        """[..., F] -> ActionDistribution."""
        mean, log_std, logits = tf.split(self.body(z), [self.spec.continuous] * 2 + [self.spec.choices], axis=-1)
        std = tf.exp(tf.clip_by_value(log_std, LOG_STD_MIN, LOG_STD_MAX))
        return ActionDistribution(
            self.spec,
            continuous=TanhNormal(mean, std) if self.spec.continuous else None,
            logits=logits if self.spec.choices else None,
        )


class ModelQ(keras.layers.Layer):
    """Q of a continuous action, one column for each discrete choice (one column when there is none)."""

    def __init__(self, spec: Spec, hidden: Sequence[int] = HIDDEN_UNITS, **kwargs: Any):
        super().__init__(**kwargs)
        self.body = MLP(hidden, spec.columns)

    def call(self, z: Tensor, continuous_action: Tensor) -> Tensor:
        """z [..., F], continuous_action [..., A] in [-1, 1] -> [..., C]."""
        return self.body(flat_concat([z, continuous_action]))
