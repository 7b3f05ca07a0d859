"""The optimizer of each trained part."""

from __future__ import annotations

from sac.agent.hyperparameters import Hyperparameters
from sac.backend import keras

Trained = tuple[keras.optimizers.Optimizer, list[keras.Variable]]  # an optimizer and the weights that it moves


def adam(hyper: Hyperparameters, regularised: bool = True) -> keras.optimizers.Optimizer:
    """Adam with the configured learning rate; with `regularised` also gradient clipping and weight decay."""
    extra = {"weight_decay": hyper.weight_decay or None, "global_clipnorm": hyper.grad_clip_norm} if regularised else {}
    return keras.optimizers.Adam(learning_rate(hyper), **extra)


def learning_rate(hyper: Hyperparameters) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A constant, or a schedule from `learning_rate` to `learning_rate_end` within `learning_rate_updates` updates."""
    rate, end, updates = hyper.learning_rate, hyper.learning_rate_end, hyper.learning_rate_updates
    if hyper.learning_rate_schedule == "linear":
        return keras.optimizers.schedules.PolynomialDecay(rate, updates, end)
    if hyper.learning_rate_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, updates, alpha=end / rate)
    return rate
