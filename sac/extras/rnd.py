"""Random network distillation: a network predicts a random one badly where it was trained rarely.

Burda et al., arXiv:1810.12894.
"""

from __future__ import annotations

from sac.backend import Tensor, keras, tf
from sac.extras.extra import Extra, Window, probes, without_padding
from sac.nets.action_distribution import ILLEGAL_LOGIT
from sac.nets.contract import Builder
from sac.ops.losses import masked_mean
from sac.types import Spec


def novelty(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance between two embeddings, arXiv:1810.12894, section 2.2. [..., features] -> [...]."""
    return tf.reduce_mean(tf.square(predicted - target), axis=-1)


def choice_logits(x: Tensor, temperature: float) -> Tensor:
    """Logits [..., n] of the choice among n candidates with novelty [..., n]: standardised, divided by `temperature`.

    Novelty falls during training; after standardising it, a temperature has the same effect early and late.
    Temperature 0 chooses the largest novelty.
    """
    if temperature == 0:
        return tf.where(tf.one_hot(tf.argmax(x, axis=-1), x.shape[-1]) > 0, 0.0, ILLEGAL_LOGIT)
    mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return tf.math.divide_no_nan(x - mean, tf.sqrt(variance)) / temperature


def merged(statistics: Tensor, x: Tensor, valid: Tensor) -> Tensor:
    """Count, mean and variance [3] after the valid numbers of x [...] were added to `statistics` [3].

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

    def __init__(self) -> None:
        super().__init__(name="novelty_statistics")
        self.numbers = self.add_weight(shape=(3,), initializer="zeros", trainable=False, name="numbers")

    def std(self) -> Tensor:
        """Standard deviation []; 1 before anything was counted."""
        return tf.where(self.numbers[0] > 0, tf.sqrt(self.numbers[2]), 1.0)


class RND(Extra):
    """Chooses among `n_sample` actions by the novelty of (z, action); rewards novelty if `bonus` is not 0.

    The predictor is trained on the target representation; no gradient reaches a representation.
    """

    name = "rnd"
    loss_names = ("predictor",)

    def __init__(self, build: Builder, spec: Spec, n_sample: int, temperature: float, bonus: float):
        self.candidates, self.temperature, self.strength = n_sample, temperature, bonus
        self.predictor, self.target = (build.make("ModelRND", spec) for _ in range(2))
        self.target.trainable = False
        self.statistics = NoveltyStatistics()
        for lead, inputs in probes(spec.feature, spec.action_size):
            for net in (self.predictor, self.target):
                found = build.call("ModelRND", net, *inputs)
                width = tuple(getattr(found, "shape", ()))[-1:] or ("features",)
                build.expect("ModelRND", "an embedding", found, (*lead, *width))

    def layers(self) -> dict[str, keras.layers.Layer]:
        return {"predictor": self.predictor, "target": self.target, "statistics": self.statistics}

    def novelty(self, z: Tensor, action: Tensor) -> Tensor:
        """Novelty of actions [..., A + choices] in states z [..., F] -> [...]."""
        return novelty(self.predictor(z, action), tf.stop_gradient(self.target(z, action)))

    def bonus(self, window: Window) -> Tensor:
        """Novelty in units of its running standard deviation [B, T] (arXiv:1810.12894, section 2.4), times `bonus`."""
        if self.strength == 0:
            return tf.zeros_like(window.reward)
        window = without_padding(window)
        return self.strength * window.valid * tf.math.divide_no_nan(self._found(window), self.statistics.std())

    def losses(self, window: Window) -> dict[str, Tensor]:
        window = without_padding(window)
        found = self._found(window)
        numbers = merged(tf.convert_to_tensor(self.statistics.numbers), tf.stop_gradient(found), window.valid)
        self.statistics.numbers.assign(numbers)
        return {"predictor": masked_mean(found, window.valid)}

    def preference(self, z: Tensor, action: Tensor) -> Tensor:
        return choice_logits(self.novelty(z, action), self.temperature)

    def _found(self, window: Window) -> Tensor:
        """Novelty of each step [B, T]."""
        return self.novelty(tf.stop_gradient(window.z_target[:, :-1]), window.action)
