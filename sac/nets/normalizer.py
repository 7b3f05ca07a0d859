"""Running normalisation of vector observations inside the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sac.backend import Tensor, keras, tf
from sac.types import Sensor

CLIP_STANDARD_DEVIATIONS = 10.0


class ObservationStatistics(Protocol):
    """Mean and standard deviation of each sensor's values; sac.replay.running_stats.RunningStats has them."""

    @property
    def mean(self) -> Mapping[str, np.ndarray]:
        """{sensor: [*shape]}."""

    def std(self, name: str) -> np.ndarray:
        """[*shape] of the sensor `name`."""


class Normalizer(keras.layers.Layer):
    """(x - mean) / std of each sensor in `sensors`, clipped to +-10; the other sensors stay as they are.

    The statistics come from outside (`sac.replay.running_stats.RunningStats`), where each row that was collected counts
    once and sampled batches do not count. Online and target networks share them.
    """

    def __init__(self, sensors: Sequence[Sensor] = (), **kwargs: Any):
        super().__init__(**kwargs)
        self.sensors, self.names = tuple(sensors), [sensor.name for sensor in sensors]
        zeros, ones = keras.initializers.Zeros(), keras.initializers.Ones()
        self.mean = [self.add_weight(shape=s.shape, initializer=zeros, trainable=False) for s in sensors]
        self.scale = [self.add_weight(shape=s.shape, initializer=ones, trainable=False) for s in sensors]

    def call(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{sensor: [..., *shape]} -> the same, normalised."""
        parts = zip(self.names, self.mean, self.scale)
        limit = CLIP_STANDARD_DEVIATIONS
        return {**obs, **{n: tf.clip_by_value((obs[n] - m) * s, -limit, limit) for n, m, s in parts}}

    def clipped(self, normalised: Mapping[str, Tensor]) -> Tensor | float:
        """The share of clipped values in a normalised batch [B, T, *shape], for the element that is clipped most."""
        at_limit = [tf.abs(normalised[n]) >= CLIP_STANDARD_DEVIATIONS for n in self.names]
        shares = [tf.reduce_max(tf.reduce_mean(tf.cast(x, tf.float32), axis=[0, 1])) for x in at_limit]
        return tf.reduce_max(tf.stack(shares)) if shares else 0.0

    def take(self, stats: ObservationStatistics) -> None:
        """Copies mean and 1 / std."""
        for name, mean, scale in zip(self.names, self.mean, self.scale):
            mean.assign(stats.mean[name])
            scale.assign(1 / stats.std(name))
