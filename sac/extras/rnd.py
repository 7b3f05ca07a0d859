"""Random network distillation: what was rarely seen is badly imitated (Burda et al., arXiv:1810.12894)."""

from __future__ import annotations

from sac.backend import keras, tf
from sac.extras.extra import Extra, Window
from sac.extras.probe import probes
from sac.extras.real_rows import without_padding
from sac.nets.action_distribution import ILLEGAL
from sac.ops.losses import masked_mean


def novelty(predicted, target):
    """Mean squared distance between two embeddings, arXiv:1810.12894, section 2.2. [..., features] -> [...]."""
    return tf.reduce_mean(tf.square(predicted - target), axis=-1)


def choice_logits(x, temperature: float):
    """Logits of the choice among n candidates by their novelty [..., n]: standardised, divided by the temperature.

    Standardised, a temperature means the same early, when all is new, and late. Temperature 0 chooses the largest.
    """
    if temperature == 0:
        return tf.where(tf.one_hot(tf.argmax(x, axis=-1), x.shape[-1]) > 0, 0.0, ILLEGAL)
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return tf.math.divide_no_nan(x - mean, tf.sqrt(variance)) / temperature


def merged(statistics, x, valid):
    """Count, mean and variance [3] of all numbers so far and of the valid ones in x.

    Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American Statistician, 1983.
    """
    count, mean, variance = tf.unstack(statistics)
    n, m = tf.reduce_sum(valid), masked_mean(x, valid)
    v = masked_mean(tf.square(x - m), valid)
    total, apart = count + n, m - mean
    share = tf.math.divide_no_nan(n, total)
    spread = (1 - share) * variance + share * v + share * (1 - share) * tf.square(apart)
    return tf.stack([total, mean + share * apart, spread])


class NoveltyStatistics(keras.layers.Layer):
    """Running count, mean and variance of the novelty, as one weight [3] that is not trained."""

    def __init__(self):
        super().__init__(name="novelty_statistics")
        self.numbers = self.add_weight(shape=(3,), initializer="zeros", trainable=False, name="numbers")

    def std(self):
        """Standard deviation; 1 before anything was seen []."""
        return tf.where(self.numbers[0] > 0, tf.sqrt(self.numbers[2]), 1.0)


class RND(Extra):
    """Chooses among `n_sample` actions by the novelty of (z, action), and rewards it where `bonus` is not 0.

    The predictor learns on the target representation; no gradient reaches a representation.
    """

    name = "rnd"
    loss_names = ("predictor",)

    def __init__(self, build, spec, n_sample: int, temperature: float, bonus: float):
        self.candidates, self.temperature, self.strength = n_sample, temperature, bonus
        self.predictor, self.target = (build.make("ModelRND", spec) for _ in range(2))
        self.target.trainable = False
        self.statistics = NoveltyStatistics()
        for lead, inputs in probes(spec.feature, spec.action_size):
            for net in (self.predictor, self.target):
                found = build.call("ModelRND", net, *inputs)
                width = tuple(getattr(found, "shape", ()))[-1:] or ("features",)
                build.expect("ModelRND", "an embedding", found, (*lead, *width))

    def layers(self) -> dict:
        return {"predictor": self.predictor, "target": self.target, "statistics": self.statistics}

    def novelty(self, z, action):
        """Novelty of actions [..., A + choices] in states z [..., F] -> [...]."""
        return novelty(self.predictor(z, action), tf.stop_gradient(self.target(z, action)))

    def bonus(self, window: Window):
        """Novelty in units of its running standard deviation [B, T] (arXiv:1810.12894, section 2.4), times `bonus`."""
        if self.strength == 0:
            return tf.zeros_like(window.reward)
        window = without_padding(window)
        return self.strength * window.valid * tf.math.divide_no_nan(self._found(window), self.statistics.std())

    def losses(self, window: Window) -> dict:
        window = without_padding(window)
        found = self._found(window)
        numbers = merged(tf.convert_to_tensor(self.statistics.numbers), tf.stop_gradient(found), window.valid)
        self.statistics.numbers.assign(numbers)
        return {"predictor": masked_mean(found, window.valid)}

    def preference(self, z, action):
        return choice_logits(self.novelty(z, action), self.temperature)

    def _found(self, window: Window):
        return self.novelty(tf.stop_gradient(window.z_target[:, :-1]), window.action)
