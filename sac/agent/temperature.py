"""The temperatures: weights of the entropy, adjusted to a target entropy (arXiv:1812.05905, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

from sac.agent.hyperparameters import Hyperparameters
from sac.backend import Tensor, keras, tf
from sac.ops import losses, soft_value
from sac.ops.gradient_gate import gradients
from sac.types import Spec

LOG_ALPHA_MIN, LOG_ALPHA_MAX = -10.0, 2.0
ACTION_KINDS = ("continuous", "discrete")


class Temperatures(keras.layers.Layer):
    """log alpha of the continuous and of the discrete entropy, as one weight [2]."""

    def __init__(self, spec: Spec, hyper: Hyperparameters, discrete_policy: bool):
        super().__init__(name="temperatures")
        self.branches, self.hyper = spec.branches, hyper
        sizes = spec.continuous, spec.choices * discrete_policy
        self.kinds = [i for i, size in enumerate(sizes) if size]  # indices of ACTION_KINDS that have an entropy
        self.continuous_target = -float(spec.continuous)
        initial = keras.initializers.Constant(hyper.init_log_alpha)
        self.log_alpha = self.add_weight(shape=(2,), initializer=initial, name="log_alpha")

    def alphas(self) -> list[Tensor]:
        """Both temperatures, [] each."""
        return tf.unstack(tf.exp(self.log_alpha))

    def discrete_ratio(self, updates: Tensor) -> float | Tensor:
        """The target entropy of discrete choices after this many updates, as a share of the largest entropy."""
        h = self.hyper
        if h.target_entropy_ratio_end is None:
            return h.target_entropy_ratio
        done = tf.minimum(tf.cast(updates, tf.float32) / h.target_entropy_ratio_updates, 1.0)
        return h.target_entropy_ratio + done * (h.target_entropy_ratio_end - h.target_entropy_ratio)

    def adjust(
        self, optimizer: keras.optimizers.Optimizer, entropies: Sequence[Tensor], mask: Tensor, valid: Tensor,
        updates: Tensor,
    ) -> None:  # fmt: skip
        """One gradient step towards the target entropies; log alpha stays within its bounds.

        entropies: one [B, m] for each of ACTION_KINDS; mask [B, m, choices] of legal choices; valid [B, m].
        """
        if not self.hyper.use_auto_alpha or not self.kinds:
            return
        legal = soft_value.largest_entropy(mask, self.branches)
        targets = self.continuous_target, self.discrete_ratio(updates) * legal
        log_alpha = tf.unstack(tf.convert_to_tensor(self.log_alpha))
        loss = sum(losses.temperature(log_alpha[i], entropies[i], targets[i], valid) for i in self.kinds)
        optimizer.apply(gradients(loss, [self.log_alpha]), [self.log_alpha])
        self.log_alpha.assign(tf.clip_by_value(self.log_alpha, LOG_ALPHA_MIN, LOG_ALPHA_MAX))

    @property
    def metric_names(self) -> list[str]:
        """The keys of `metrics`."""
        return [
            name
            for kind in (ACTION_KINDS[i] for i in self.kinds)
            for name in (f"policy/entropy_{kind}", f"alpha/{kind}", f"alpha/{kind}_at_bound")
        ]

    def metrics(self, entropies: Sequence[Tensor], valid: Tensor) -> dict[str, Tensor]:
        """Entropies and temperatures of the kinds that have an entropy; `at_bound` is 1 if log alpha is at a bound."""
        log_alphas, found = tf.unstack(tf.convert_to_tensor(self.log_alpha)), {}
        for i in self.kinds:
            kind, log_alpha = ACTION_KINDS[i], log_alphas[i]
            bound = tf.logical_or(log_alpha <= LOG_ALPHA_MIN, log_alpha >= LOG_ALPHA_MAX)
            found[f"policy/entropy_{kind}"] = losses.masked_mean(entropies[i], valid)
            found[f"alpha/{kind}"] = tf.exp(log_alpha)
            found[f"alpha/{kind}_at_bound"] = tf.cast(bound, tf.float32)
        return found
