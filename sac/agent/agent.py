"""Soft actor-critic itself: what one update does with windows. One unified form for every action kind.

Haarnoja et al., arXiv:1812.05905 (temperatures, twin critics), Christodoulou, arXiv:1910.07207 (discrete),
Delalleau et al., arXiv:1912.11077 (hybrid), Chen et al., arXiv:2101.05982 (ensembles, random subsets).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sac.agent.action_selection import ActionSelector
from sac.agent.encoding import Encoded, Encoder
from sac.agent.hyperparameters import Hyperparameters
from sac.agent.optimizers import adam
from sac.agent.q_estimate import QEstimate
from sac.agent.rng import FOR_NOISE, FOR_POLICY, FOR_POLICY_CHOICE, RngStreams
from sac.agent.targets import Targets
from sac.agent.temperature import Temperatures
from sac.backend import Compiled, ForAnyNumber, keras, tf
from sac.errors import UserError
from sac.extras.extra import Extras
from sac.nets import noisy, saving
from sac.nets.contract import Networks
from sac.ops import losses, soft_value
from sac.ops.discrete_choice import ByPolicy
from sac.ops.gradient_gate import gradients
from sac.ops.loops import repeated
from sac.ops.value_scale import Plain
from sac.types import Batch

SHOWN = 4  # windows of which pictures are made
SATURATED = 0.99  # |action| above it counts as saturated


class UpdateResult(NamedTuple):
    """What an update says of its windows, with a leading axis [K]."""

    td_error: np.ndarray  # [K, B]: what the |TD errors| of a window come to
    state: np.ndarray  # [K, B, S]: today's recurrent state of the first trained row


class Agent:
    """Networks, optimizers and temperatures with the two compiled functions that use them.

    `choice` decides discrete actions, `scale` is the critics' unit, `extras` are optional parts.
    """

    def __init__(
        self, networks: Networks, hyper: Hyperparameters, seed: int, choice=ByPolicy, scale=Plain, extras=None
    ):
        self.nets, self.hyper, self.spec, self.seed = networks, hyper, networks.spec, seed
        self.choice, self.scale, self.extras = choice, scale, extras or Extras()
        self.state_size, self.previous_size = networks.state_size, networks.previous_size
        noisy.number_streams([*networks.parts().values(), *self.extras.layers().values()])
        self.act = ActionSelector(networks, choice, self.extras, hyper.jit)
        self.estimate_q = QEstimate(networks, scale)
        self.candidates = self.extras.candidates  # actions of which one is chosen at each step
        self.temperatures = Temperatures(self.spec, hyper, choice.trained)
        self.updates = keras.Variable(0, dtype="int32", trainable=False, name="updates")
        self.rng = RngStreams(seed, self.updates, self.spec.continuous, hyper.ensemble_q_sample)
        self.encoder = Encoder(networks, hyper, self.rng)
        self.targets = Targets(networks, hyper, choice, scale, self.temperatures, self.rng)
        self.trained = {
            "critic": (adam(hyper), networks.critic_weights),
            "policy": (adam(hyper), networks.policy.trainable_weights),
            "temperature": (adam(hyper, regularised=False), [self.temperatures.log_alpha]),
            **{f"extra_{e.name}": (adam(hyper), e.trained) for e in self.extras.parts},
        }
        for optimizer, weights in self.trained.values():
            optimizer.build(weights)
        self.metric_names = self._metric_names()
        self.traces = 0  # how often `update` was traced; one for each K, a test holds it there
        self._compiled_update = Compiled(self._update_many, hyper.jit)
        self._compiled_td_error = ForAnyNumber(self._td_error, hyper.jit)

    def _metric_names(self) -> list[str]:
        names = ["critic/loss", "critic/q", "critic/target", "critic/td_error", "policy/loss"]
        names += self.temperatures.metric_names
        names += ["policy/saturated"] * (self.spec.continuous > 0)
        names += ["normalizer/clipped"] * bool(self.nets.normalizer.names)
        names += ["policy/ratio"] * (self.hyper.steps > 1) + ["recurrent/delta_q"] * (self.state_size > 0)
        return names + self.extras.metric_names

    def check_noise(self) -> None:
        """Raises UserError unless the probability of an action with noise added before the squash can be told."""
        if not self.nets.widens:
            raise UserError(
                "ModelPolicy returns a continuous distribution of its own that cannot take the noise of actors: "
                "give it a method widened(std), as TanhNormal has, or set base.noise_increasing_rate=0"
            )

    def normalise(self, stats) -> None:
        """Takes over the statistics of observations."""
        self.nets.normalizer.take(stats)

    # --- learning

    def update(self, batches: Batch) -> tuple[dict[str, float], UpdateResult]:
        """Runs K updates in one compiled call on batches with a leading axis [K].

        Returns the metrics averaged over K, and what was learnt about each window.
        """
        metrics, *learnt = self._compiled_update(batches.weight.shape, batches._replace(index=()))
        return dict(zip(self.metric_names, metrics.numpy())), UpdateResult(*(x.numpy() for x in learnt))

    def _update_many(self, batches: Batch):
        self.traces += 1
        k_total = batches.reward.shape[0]

        def body(k, sums, learnt):
            metrics, td_error, state = self._update_one(tf.nest.map_structure(lambda x: x[k], batches))
            sums += tf.stack([metrics[name] for name in self.metric_names])
            new = tf.concat([td_error[:, None], state], axis=-1)
            return sums, tf.tensor_scatter_nd_update(learnt, [[k]], [new])

        learnt = tf.zeros((*batches.weight.shape, 1 + self.state_size))
        start = tf.zeros(len(self.metric_names)), learnt
        sums, learnt = repeated(k_total, body, start, unroll=self.spec.has_images)
        return sums / k_total, learnt[..., 0], learnt[..., 1:]

    def _update_one(self, batch: Batch):
        """One step of critics, policy, temperatures and targets; the order of SAC's algorithm box."""
        self.updates.assign_add(1)
        with noisy.drawn(self.rng.seed(FOR_NOISE)):
            return self._step(batch)

    def td_error(self, batch: Batch) -> np.ndarray:
        """What `update` would say of these windows [B], learning nothing: their first priorities.

        As in Ape-X (arXiv:1803.00933), where actors say it. Random numbers are those of update number `updates`.
        """
        if not len(batch.weight):
            return np.zeros(0, np.float32)
        return self._compiled_td_error((batch._replace(index=()),))

    def _td_error(self, whole: Batch):
        with noisy.drawn(self.rng.seed(FOR_NOISE)):
            encoded = self.encoder.encode(whole._replace(obs=self.nets.observe(whole.obs)))
            q = self.encoder.q(encoded)
            _, target, _ = self._rewarded_targets(encoded)
        return losses.window_error(losses.td_error(q, target), encoded.valid)

    def _step(self, whole: Batch):
        m = self.hyper.sequence_length
        whole = whole._replace(obs=self.nets.observe(whole.obs))
        with tf.GradientTape(persistent=True) as tape:
            encoded = self.encoder.encode(whole)
            batch, valid, q = encoded.batch, encoded.valid, self.encoder.q(encoded)
            extra_losses = self.extras.losses(encoded.window)
            with tape.stop_recording():
                bonuses, target, ratio = self._rewarded_targets(encoded)
                clip_centre = self.encoder.target_q(encoded)  # dead code to XLA unless clip_epsilon > 0
            # A purely discrete critic is never clipped.
            clip = self.hyper.clip_epsilon if self.spec.continuous else -1.0
            critic_loss = losses.critic(q, target, clip_centre, batch.weight, valid, clip)
        delta_q = self.encoder.delta_q(encoded)
        mask = batch.mask[:, :m]
        self._train_critics(tape, critic_loss, extra_losses)
        policy_loss, entropies, saturated = self._improve_policy(encoded.z[:, :m], encoded.z_target[:, :m], mask, valid)
        self.temperatures.adjust(self.trained["temperature"][0], entropies, mask, valid, self.updates)
        self._move_targets()

        td_error = losses.td_error(q, target)
        metrics = {
            "critic/loss": critic_loss,
            "critic/q": losses.masked_mean(tf.reduce_mean(q, 0), valid),
            "critic/target": losses.masked_mean(target, valid),
            "critic/td_error": losses.masked_mean(td_error, valid),
            "policy/loss": policy_loss,
            "policy/saturated": saturated,
            "policy/ratio": ratio,
            "normalizer/clipped": self.nets.normalizer.clipped(whole.obs),
            "recurrent/delta_q": delta_q,
            **self.temperatures.metrics(entropies, valid),
        }
        for part, named, bonus in zip(self.extras.parts, extra_losses, bonuses):
            metrics |= {f"{part.name}/{name}": value for name, value in named.items()}
            metrics[f"{part.name}/bonus"] = losses.masked_mean(bonus, batch.valid)
        return metrics, losses.window_error(td_error, valid), encoded.state

    def _rewarded_targets(self, encoded: Encoded):
        """The extras' rewards [B, T] each, the targets of Q with them [B, m] and the mean ratio."""
        batch, bonuses = encoded.batch, self.extras.bonuses(encoded.window)
        batch = batch._replace(reward=sum((b * batch.valid for b in bonuses), batch.reward))
        return bonuses, *self.targets(batch, encoded.z, encoded.z_target, encoded.action, encoded.taken)

    def pictures(self, batches: Batch) -> dict[str, np.ndarray]:
        """What the extras show of the first windows of [K, B, ...]: {name: picture [H, W, channels] uint8}."""
        if not self.extras.parts:
            return {}
        whole = tf.nest.map_structure(lambda x: tf.convert_to_tensor(x[0, :SHOWN]), batches._replace(index=()))
        encoded = self.encoder.encode(whole._replace(obs=self.nets.observe(whole.obs)))
        shown = {name: np.concatenate(list(x), axis=1) for name, x in self.extras.pictures(encoded.window).items()}
        return {name: np.uint8(np.clip(x, 0, 1) * 255) for name, x in shown.items()}

    # --- steps

    def _train_critics(self, tape, critic_loss, extra_losses) -> None:
        """Critics and representation, and the extras' own networks."""
        optimizer, weights = self.trained["critic"]
        found = gradients(tape, critic_loss, weights)
        shared = len(self.nets.rep.trainable_weights)
        own, shaped = self.extras.gradients(tape, extra_losses, weights[:shared], found[:shared])
        optimizer.apply([*shaped, *found[shared:]], weights)
        for part, mine in zip(self.extras.parts, own):
            optimizer, weights = self.trained[f"extra_{part.name}"]
            optimizer.apply(mine, weights)

    def _improve_policy(self, z, z_target, mask, valid):
        """Policy step on fresh actions; the representation is not trained by it.

        Returns loss, both entropies and the share of saturated actions.
        """
        alpha_c, alpha_d = self.temperatures.alphas()
        optimizer, weights = self.trained["policy"]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([w.value for w in weights])
            pi = self.nets.policy(z).masked(mask)
            raw, log_pi_c = self.rng.action(pi, valid.shape, FOR_POLICY)
            q = self.nets.q(z, tf.tanh(raw))
            chosen = self.choice.decide(pi, q, self.hyper.ensemble_q_sample, self.rng.seed(FOR_POLICY_CHOICE))
            entropy_d = chosen.discrete_entropy(raw)
            q = self.scale.unsquash(self.rng.subset(q, FOR_POLICY))
            value = soft_value.expected_q(q, chosen.column_probs(raw), len(self.spec.branches))
            held = self._held_log_prob(pi, raw, log_pi_c, z_target)
            bonus = soft_value.entropy_bonus(held, entropy_d, alpha_c, alpha_d)
            loss = -losses.masked_mean(value + bonus, valid)
        optimizer.apply(gradients(tape, loss, weights), weights)
        saturated = tf.reduce_mean(tf.cast(tf.abs(tf.tanh(raw)) > SATURATED, tf.float32), axis=-1)
        return loss, (-log_pi_c, entropy_d), losses.masked_mean(saturated, valid)

    def _held_log_prob(self, pi, raw, log_pi_c, z_target):
        """log pi of fresh actions, held near that of the slow policy where there is one (`clip_epsilon_policy`)."""
        if self.nets.slow_policy is None:
            return log_pi_c
        slow = self.nets.slow_policy(z_target).continuous_log_probs(raw)
        return losses.held_log_prob(pi.continuous_log_probs(raw), slow, self.hyper.clip_epsilon_policy)

    def _move_targets(self):
        """Polyak step of critics and representation, every `update_target_per_step` updates."""
        due = tf.equal(self.updates % self.hyper.update_target_per_step, 0)
        tau = tf.where(due, self.hyper.tau, 0.0)
        for online, target in self.nets.target_pairs():
            target.assign(target + tau * (online - target))

    # --- saving

    def state(self):
        """Every number of the agent by a flat name, and no scalars."""
        return saving.arrays(self._variables()), {}

    def restore(self, arrays, scalars) -> None:
        """Puts `state()` back. Raises UserError when the networks have another shape than what was saved."""
        saving.assign(self._variables(), arrays)

    def acting_variables(self, with_td_errors: bool = False) -> dict:
        """What another process needs to act as this one does, by name; with `with_td_errors` also for TD errors."""
        layers = self.nets.parts()
        names = {"rep", "policy", "normalizer"}
        if with_td_errors or not self.choice.trained:  # then the critics choose
            names |= {name for name in layers if name.startswith("critic")}
        owners = {
            name: layer for name, layer in layers.items() if with_td_errors or name in names
        } | self.extras.layers()
        return saving.variables(owners | ({"temperatures": self.temperatures} if with_td_errors else {}))

    def evolving_variables(self) -> dict:
        """What an evolver draws anew: networks, and temperatures that are learnt; not what observations look like."""
        owners = {name: layer for name, layer in self.nets.parts().items() if name != "normalizer"}
        if self.hyper.use_auto_alpha:
            owners["temperatures"] = self.temperatures
        found = saving.variables(owners)
        return {name: v for name, v in found.items() if "float" in str(v.dtype)}

    def begin_anew(self, other: Agent) -> None:
        """Takes over all that `other` is, but the count of updates."""
        arrays, _ = other.state()
        saving.assign(self._variables(), arrays | {"updates": np.asarray(self.updates)})

    def _variables(self) -> dict:
        optimizers = {f"optimizer_{name}": optimizer for name, (optimizer, _) in self.trained.items()}
        owners = self.nets.parts() | self.extras.layers() | {"temperatures": self.temperatures} | optimizers
        return saving.variables(owners) | {"updates": self.updates}
