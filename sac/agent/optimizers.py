"""The optimizer of each trained part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sac.agent.hyperparameters import Hyperparameters
from sac.backend import Tensor, keras, tf

Trained = tuple[keras.optimizers.Optimizer, list[keras.Variable]]  # an optimizer and the weights that it moves


def adam(hyper: Hyperparameters, regularised: bool = True, every: int = 1) -> keras.optimizers.Optimizer:
    """Adam with the configured learning rate; with `regularised` also gradient clipping and weight decay.

    It takes a step in `every` so many updates.
    """
    extra = {"weight_decay": hyper.weight_decay or None, "global_clipnorm": hyper.grad_clip_norm} if regularised else {}
    return Adam(learning_rate(hyper, every), **extra)


class Adam(keras.optimizers.Adam):
    """Keras's Adam in fewer operations, each of which has to be traced: the same numbers, and a sooner start."""

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Takes one step; its size is computed once for all weights."""
        step = tf.cast(self.iterations + 1, tf.float32)
        scale = tf.sqrt(1 - tf.pow(self.beta_2, step))
        self._size = tf.cast(self.learning_rate, tf.float32) * scale / (1 - tf.pow(self.beta_1, step))
        super().apply(grads, trainable_variables)

    def update_step(self, gradient: Tensor, variable: tf.Variable, learning_rate: Tensor) -> None:
        """Moves a weight and its two moments (Kingma and Ba, arXiv:1412.6980, end of section 2)."""
        number = self._get_variable_index(variable)
        momentum, velocity = self._momentums[number].value, self._velocities[number].value
        momentum.assign_add((gradient - momentum) * (1 - self.beta_1))
        velocity.assign_add((tf.square(gradient) - velocity) * (1 - self.beta_2))
        variable.assign_sub(momentum * self._size / (tf.sqrt(velocity) + self.epsilon))


def learning_rate(hyper: Hyperparameters, every: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A constant, or a schedule from `learning_rate` to `learning_rate_end` within `learning_rate_updates` updates.

    A schedule whose rate is a variable is scaled with it as a whole.
    """
    if isinstance(hyper.learning_rate, tf.Variable):
        now = float(hyper.learning_rate.numpy())
        return Scaled(hyper.learning_rate, now, learning_rate(replace(hyper, learning_rate=now), every))
    rate, end, steps = hyper.learning_rate, hyper.learning_rate_end, max(1, hyper.learning_rate_updates // every)
    if hyper.learning_rate_schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(rate, steps, end)
    if hyper.learning_rate_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps, alpha=end / rate)
    return rate


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule (or constant) `inner` of the first rate `first`, scaled to begin with the variable `rate`."""

    def __init__(
        self, rate: tf.Variable, first: float, inner: float | keras.optimizers.schedules.LearningRateSchedule
    ):  # fmt: skip
        self._rate, self._first, self._inner = rate, first, inner

    def __call__(self, step: Tensor) -> Tensor:
        """The rate [] of this step of the optimizer."""
        if isinstance(self._inner, float):
            return tf.convert_to_tensor(self._rate)
        return self._rate * (self._inner(step) / self._first)
