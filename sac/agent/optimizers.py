"""The optimizer of each trained part."""

from __future__ import annotations

from sac.agent.hyperparameters import Hyperparameters
from sac.backend import keras

Trained = tuple[keras.optimizers.Optimizer, list[keras.Variable]]  # an optimizer and the weights that it moves


def adam(hyper: Hyperparameters, regularised: bool = True, every: int = 1) -> keras.optimizers.Optimizer:
    """Adam with the configured learning rate; with `regularised` also gradient clipping and weight decay.

    It takes a step in `every` so many updates.
    """
    extra = {"weight_decay": hyper.weight_decay or None, "global_clipnorm": hyper.grad_clip_norm} if regularised else {}
    return keras.optimizers.Adam(learning_rate(hyper, every), **extra)


def learning_rate(hyper: Hyperparameters, every: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A constant, or a schedule from `learning_rate` to `learning_rate_end` within `learning_rate_updates` updates."""
    rate, end, steps = hyper.learning_rate, hyper.learning_rate_end, max(1, hyper.learning_rate_updates // every)
    if hyper.learning_rate_schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(rate, steps, end)
    if hyper.learning_rate_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, steps, alpha=end / rate)
    return rate
