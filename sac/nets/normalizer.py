"""Running normalisation of vector observations inside the network."""

from __future__ import annotations

from sac.backend import keras, tf

CLIP = 10.0  # standard deviations


class Normalizer(keras.layers.Layer):
    """(x - mean) / std of every sensor it is made for, clipped to +-10; others pass. With no sensors: the identity.

    The statistics come from outside (`sac.replay.running_stats.RunningStats`): what is counted is real rows, once each,
    never a sampled batch. Online and target networks share them.
    """

    def __init__(self, sensors=(), **kwargs):
        super().__init__(**kwargs)
        self.sensors, self.names = tuple(sensors), [sensor.name for sensor in sensors]
        zeros, ones = keras.initializers.Zeros(), keras.initializers.Ones()
        self.mean = [self.add_weight(shape=s.shape, initializer=zeros, trainable=False) for s in sensors]
        self.scale = [self.add_weight(shape=s.shape, initializer=ones, trainable=False) for s in sensors]

    def call(self, obs):
        """{sensor: [..., *shape]} -> the same, normalised."""
        parts = zip(self.names, self.mean, self.scale)
        return {**obs, **{n: tf.clip_by_value((obs[n] - m) * s, -CLIP, CLIP) for n, m, s in parts}}

    def clipped(self, normalised):
        """Share of values at the clip in a batch of `call`'s [B, T, *shape], of the number that is cut most often."""
        shares = [
            tf.reduce_max(tf.reduce_mean(tf.cast(tf.abs(normalised[n]) >= CLIP, tf.float32), axis=[0, 1]))
            for n in self.names
        ]
        return tf.reduce_max(tf.stack(shares)) if shares else 0.0

    def take(self, stats) -> None:
        """Copies mean and 1 / std of `RunningStats`."""
        for name, mean, scale in zip(self.names, self.mean, self.scale):
            mean.assign(stats.mean[name])
            scale.assign(1 / stats.std(name))
