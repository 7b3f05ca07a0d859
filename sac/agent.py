"""Soft actor-critic itself: what one update does with windows. One unified form for every action kind.

Haarnoja et al., arXiv:1812.05905 (temperatures, twin critics), Christodoulou, arXiv:1910.07207 (discrete),
Delalleau et al., arXiv:1912.11077 (hybrid), Chen et al., arXiv:2101.05982 (ensembles, random subsets).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sac.acting import Acting
from sac.appraisal import Appraisal
from sac.backend import Compiled, ForAnyNumber, keras, tf
from sac.errors import UserError
from sac.extras.extra import Extras, Window
from sac.hyper import Hyper
from sac.nets import noisy, saving
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Networks
from sac.nets.recurrent import warmed_up
from sac.ops import losses, returns, soft_value
from sac.ops.discrete_choice import ByPolicy
from sac.ops.gradient_gate import gradients
from sac.ops.loops import repeated
from sac.ops.value_scale import Plain
from sac.optimizers import adam
from sac.types import Batch

LOG_ALPHA_MIN, LOG_ALPHA_MAX = -10.0, 2.0
FOR_TARGET, FOR_POLICY, FOR_NOISE, FOR_EXTRAS, FOR_CHOICE = 1, 2, 3, 4, 5  # streams of randomness
KINDS = ("continuous", "discrete")
SHOWN = 4  # windows of which pictures are made
SATURATED = 0.99  # |action| above it counts as saturated


class Learnt(NamedTuple):
    """What an update says of its windows, with a leading axis [K]."""

    td_error: np.ndarray  # [K, B]: what the |TD errors| of a window come to
    state: np.ndarray  # [K, B, S]: today's recurrent state of the first trained row


class Seen(NamedTuple):
    """Windows from their first trained row on, and what the networks make of them."""

    batch: Batch
    valid: tf.Tensor  # [B, m]: which of the trained rows hold an action
    taken: tf.Tensor  # [B, T, C]: choices as critic columns
    action: tf.Tensor  # [B, T, A], squashed
    window: Window  # as extras see them; holds the features
    state: tf.Tensor  # [B, S] of the first row
    q: tf.Tensor  # [E, B, m] of what was done


class Temperatures(keras.layers.Layer):
    """log alpha of the continuous and of the discrete entropy, as one weight [2]."""

    def __init__(self, initial: float):
        super().__init__(name="temperatures")
        self.log_alpha = self.add_weight(shape=(2,), initializer=keras.initializers.Constant(initial), name="log_alpha")


class Agent:
    """Networks, optimizers and temperatures with the two compiled functions that use them.

    `choice` decides discrete actions, `scale` is the critics' unit, `extras` are optional parts.
    """

    def __init__(self, networks: Networks, hyper: Hyper, seed: int, choice=ByPolicy, scale=Plain, extras=None):
        self.nets, self.hyper, self.spec, self.seed = networks, hyper, networks.spec, seed
        self.choice, self.scale, self.extras = choice, scale, extras or Extras()
        self.state_size, self.previous_size = networks.state_size, networks.previous_size
        noisy.number_streams([*networks.parts().values(), *self.extras.layers().values()])
        self.act = Acting(networks, choice, self.extras, hyper.jit)
        self.appraise = Appraisal(networks, scale)
        self.candidates = self.extras.candidates  # actions of which one is chosen at each step
        self.temperatures = Temperatures(hyper.init_log_alpha)
        self.updates = keras.Variable(0, dtype="int32", trainable=False, name="updates")
        sizes = self.spec.continuous, self.spec.choices * choice.trained
        self._kinds = [i for i, size in enumerate(sizes) if size]  # that have an entropy
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
        for kind in (KINDS[i] for i in self._kinds):
            names += [f"policy/entropy_{kind}", f"alpha/{kind}", f"alpha/{kind}_at_bound"]
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

    def normalise(self, moments) -> None:
        """Takes over the statistics of observations."""
        self.nets.normalizer.take(moments)

    # --- learning

    def update(self, batches: Batch) -> tuple[dict[str, float], Learnt]:
        """Runs K updates in one compiled call on batches with a leading axis [K].

        Returns the metrics averaged over K, and what was learnt about each window.
        """
        metrics, *learnt = self._compiled_update(batches.weight.shape, batches._replace(index=()))
        return dict(zip(self.metric_names, metrics.numpy())), Learnt(*(x.numpy() for x in learnt))

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
        with noisy.drawn(self._seed(FOR_NOISE)):
            return self._step(batch)

    def td_error(self, batch: Batch) -> np.ndarray:
        """What `update` would say of these windows [B], learning nothing: their first priorities.

        As in Ape-X (arXiv:1803.00933), where actors say it. Random numbers are those of update number `updates`.
        """
        if not len(batch.weight):
            return np.zeros(0, np.float32)
        return self._compiled_td_error((batch._replace(index=()),))

    def _td_error(self, whole: Batch):
        with noisy.drawn(self._seed(FOR_NOISE)):
            whole = whole._replace(obs=self.nets.observe(whole.obs))
            seen = self._see(whole)
            _, target, _ = self._rewarded_targets(seen)
        return losses.window_error(losses.td_error(seen.q, target), seen.valid)

    def _step(self, whole: Batch):
        h, m = self.hyper, self.hyper.sequence_length
        whole = whole._replace(obs=self.nets.observe(whole.obs))
        with tf.GradientTape(persistent=True) as tape:
            seen = self._see(whole)
            batch, valid, taken, action, window, state, q = seen
            z, z_target = window.z, window.z_target
            extra_losses = self.extras.losses(window)
            with tape.stop_recording():
                bonuses, target, ratio = self._rewarded_targets(seen)
                slow_q = self._q(self.nets.target_critics, z_target[:, :m], action[:, :m])
                clip_centre = soft_value.chosen_q(slow_q, taken[:, :m])  # dead code to XLA unless clip_epsilon > 0
            clip = h.clip_epsilon if self.spec.continuous else -1.0  # a purely discrete critic is never clipped
            critic_loss = losses.critic(q, target, clip_centre, batch.weight, valid, clip)
        delta_q = self._delta_q(batch, z, action, taken, valid)
        self._train_critics(tape, critic_loss, extra_losses)
        policy_loss, entropies, saturated = self._improve_policy(z[:, :m], z_target[:, :m], batch.mask[:, :m], valid)
        self._adjust_temperatures(entropies, batch.mask[:, :m], valid)
        self._move_targets()

        td_error = losses.td_error(q, target)
        log_alpha = self.temperatures.log_alpha
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
        }
        for i, kind in enumerate(KINDS):
            metrics[f"policy/entropy_{kind}"] = losses.masked_mean(entropies[i], valid)
            metrics[f"alpha/{kind}"] = tf.exp(log_alpha[i])
            bound = tf.logical_or(log_alpha[i] <= LOG_ALPHA_MIN, log_alpha[i] >= LOG_ALPHA_MAX)
            metrics[f"alpha/{kind}_at_bound"] = tf.cast(bound, tf.float32)
        for part, named, bonus in zip(self.extras.parts, extra_losses, bonuses):
            metrics |= {f"{part.name}/{name}": value for name, value in named.items()}
            metrics[f"{part.name}/bonus"] = losses.masked_mean(bonus, batch.valid)
        return metrics, losses.window_error(td_error, valid), state

    # --- states to features

    def _see(self, whole: Batch) -> Seen:
        """The windows' trained part through the networks; observations are already as networks see them."""
        m = self.hyper.sequence_length
        batch = self._after_burn_in(whole)
        taken, action = one_hot(batch.discrete, self.spec), tf.tanh(batch.continuous)
        z_target, _ = self._encode(self.nets.target_rep, whole)
        z, state = self._encode(self.nets.rep, whole)
        q = soft_value.chosen_q(self._q(self.nets.critics, z[:, :m], action[:, :m]), taken[:, :m])
        window = self._window(batch, z, z_target, action, taken)
        return Seen(batch, batch.valid[:, :m], taken, action, window, state, q)

    def _after_burn_in(self, whole: Batch) -> Batch:
        """The window from its first trained row on."""
        b = self.hyper.burn_in_step
        late = {"obs": {name: x[:, b:] for name, x in whole.obs.items()}}
        for name in ("mask", "previous", "continuous", "discrete", "log_prob", "reward", "discount", "valid"):
            late[name] = getattr(whole, name)[:, b:]
        return whole._replace(**late)

    def _encode(self, rep, whole: Batch):
        """Features of all T + 1 states [B, T + 1, F], and the recurrent state of the first one [B, S]."""
        b, late = self.hyper.burn_in_step, self._after_burn_in(whole)
        early = {name: x[:, :b] for name, x in whole.obs.items()}
        state = warmed_up(rep, early, whole.previous[:, :b], whole.state, whole.valid[:, :b], self.spec.has_images)
        if not self.hyper.burn_in_gradient:
            state = tf.stop_gradient(state)
        return rep(late.obs, late.previous, state)[0], state

    def _window(self, batch: Batch, z, z_target, action, taken) -> Window:
        action = tf.concat([action, taken[..., : self.spec.choices]], axis=-1)
        return Window(batch.obs, z, z_target, action, batch.reward, batch.valid, self._seed(FOR_EXTRAS))

    def _delta_q(self, batch: Batch, z, action, taken, valid):
        """How far values from the stored state are from those of today's: |dQ| / |Q|, R2D2 section 3."""
        if not self.state_size:
            return 0.0
        first = {name: x[:, 0] for name, x in batch.obs.items()}
        stale, _ = self.nets.rep(first, batch.previous[:, 0], batch.stored)
        old, new = (
            soft_value.chosen_q(self._q(self.nets.critics, x, action[:, 0]), taken[:, 0]) for x in (stale, z[:, 0])
        )
        change, size = (losses.masked_mean(tf.reduce_mean(tf.abs(x), 0), valid[:, 0]) for x in (new - old, new))
        return tf.math.divide_no_nan(change, size)

    def pictures(self, batches: Batch) -> dict[str, np.ndarray]:
        """What the extras show of the first windows of [K, B, ...]: {name: picture [H, W, channels] uint8}."""
        if not self.extras.parts:
            return {}
        whole = tf.nest.map_structure(lambda x: tf.convert_to_tensor(x[0, :SHOWN]), batches._replace(index=()))
        whole = whole._replace(obs=self.nets.observe(whole.obs))
        batch, (z, _) = self._after_burn_in(whole), self._encode(self.nets.rep, whole)
        window = self._window(batch, z, z, tf.tanh(batch.continuous), one_hot(batch.discrete, self.spec))
        shown = {name: np.concatenate(list(x), axis=1) for name, x in self.extras.pictures(window).items()}
        return {name: np.uint8(np.clip(x, 0, 1) * 255) for name, x in shown.items()}

    # --- targets

    def _rewarded_targets(self, seen: Seen):
        """The extras' rewards [B, T] each, the targets of Q with them [B, m] and the mean ratio."""
        batch, bonuses = seen.batch, self.extras.bonuses(seen.window)
        batch = batch._replace(reward=sum((b * batch.valid for b in bonuses), batch.reward))
        return bonuses, *self._targets(batch, seen.window.z, seen.window.z_target, seen.action, seen.taken)

    def _targets(self, batch: Batch, z, z_target, action, taken):
        """Targets of Q [B, m] and the mean clipped ratio pi / mu. Values belong to the states 1 ... T."""
        h = self.hyper
        pi = self.nets.policy(z[:, 1:]).masked(batch.mask[:, 1:])
        raw, log_pi_c = self._fresh_action(pi, batch.reward.shape, FOR_TARGET)
        q = self._q(self.nets.target_critics, z_target[:, 1:], tf.tanh(raw))
        chosen = self.choice.decide(pi, q, h.ensemble_q_sample, self._seed(FOR_CHOICE))
        probs, entropy_d = chosen.column_probs(raw), chosen.discrete_entropy(raw)
        alpha_c, alpha_d = self._alphas()
        bonus = soft_value.entropy_bonus(log_pi_c, entropy_d, alpha_c, alpha_d)
        q = self.scale.unsquash(self._subset(q, FOR_TARGET))
        value = soft_value.expected_q(q, probs, len(self.spec.branches)) + bonus

        # What was done in the states 1 ... T - 1; the last state's action is not in the window: its row is cut off.
        done_c, done_d = (tf.pad(x[:, 1:], [[0, 0], [0, 1], [0, 0]]) for x in (batch.continuous, taken))
        log_c, log_d = pi.continuous_log_prob(done_c)[:, :-1], self.choice.log_prob(pi, done_d)[:, :-1]
        log_ratio = log_c + log_d - self.choice.behaviour_log_prob(batch.log_prob[:, 1:])
        ratio = losses.masked_mean(returns.clipped_ratio(log_ratio, 1.0), batch.valid[:, 1:])
        soft_reward = -alpha_c * log_c - alpha_d * log_d
        if not h.use_n_step_is:
            log_ratio, soft_reward = tf.zeros_like(log_ratio), bonus[:, :-1]
        window = {
            "reward": batch.reward, "discount": batch.discount, "valid": batch.valid, "value": value,
            "log_ratio": log_ratio, "n": h.n_step, "gamma": h.gamma, "lam": h.v_lambda, "c_cap": h.v_c,
        }  # fmt: skip
        if h.trace == "retrace":
            stored = self._q(self.nets.target_critics, z_target[:, 1:-1], action[:, 1:])
            stored = self.scale.unsquash(self._subset(stored, FOR_TARGET))
            stored_q = tf.reduce_min(soft_value.chosen_q(stored, taken[:, 1:]), axis=0)
            target = returns.retrace(stored_q=stored_q, **window)
        else:
            target = returns.vtrace(soft_reward=soft_reward, rho_cap=h.v_rho, **window)
        return self.scale.squash(target), ratio

    def _fresh_action(self, pi, lead, stream: int):
        """A reparameterised continuous action of the current policy, raw [*lead, A], and its log-probability."""
        raw = pi.raw_from_noise(tf.random.stateless_normal((*lead, self.spec.continuous), self._seed(stream)))
        return raw, pi.continuous_log_prob(raw)

    def _q(self, critics, z, action):
        """All critics' columns [E, ..., C]."""
        return tf.stack([critic(z, action) for critic in critics])

    def _subset(self, q, stream: int):
        """Those of a fresh random subset of the nets [M, ..., C], the same for one stream and update."""
        chosen = soft_value.random_subset(q.shape[0], self.hyper.ensemble_q_sample, self._seed(10 + stream))
        return tf.gather(q, chosen)

    def _alphas(self):
        return tf.unstack(tf.exp(self.temperatures.log_alpha))

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
        alpha_c, alpha_d = self._alphas()
        optimizer, weights = self.trained["policy"]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([w.value for w in weights])
            pi = self.nets.policy(z).masked(mask)
            raw, log_pi_c = self._fresh_action(pi, valid.shape, FOR_POLICY)
            q = self._q(self.nets.critics, z, tf.tanh(raw))
            chosen = self.choice.decide(pi, q, self.hyper.ensemble_q_sample, self._seed(FOR_CHOICE + 10))
            entropy_d = chosen.discrete_entropy(raw)
            q = self.scale.unsquash(self._subset(q, FOR_POLICY))
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

    def _adjust_temperatures(self, entropies, mask, valid):
        if not self.hyper.use_auto_alpha or not self._kinds:
            return
        legal = soft_value.largest_entropy(mask, self.spec.branches)
        targets = -float(self.spec.continuous), self.hyper.target_entropy_ratio * legal
        optimizer, [variable] = self.trained["temperature"]
        with tf.GradientTape() as tape:
            log_alpha = tf.unstack(tf.convert_to_tensor(variable))
            loss = sum(losses.temperature(log_alpha[i], entropies[i], targets[i], valid) for i in self._kinds)
        optimizer.apply(gradients(tape, loss, [variable]), [variable])
        variable.assign(tf.clip_by_value(variable, LOG_ALPHA_MIN, LOG_ALPHA_MAX))

    def _move_targets(self):
        """Polyak step of critics and representation, every `update_target_per_step` updates."""
        due = tf.equal(self.updates % self.hyper.update_target_per_step, 0)
        tau = tf.where(due, self.hyper.tau, 0.0)
        for online, target in self.nets.target_pairs():
            target.assign(target + tau * (online - target))

    def _seed(self, stream: int):
        return tf.stack([(self.seed * 100 + stream) % 2**31, tf.convert_to_tensor(self.updates)])

    # --- saving

    def state(self):
        """Every number of the agent by a flat name, and no scalars."""
        return saving.arrays(self._variables()), {}

    def restore(self, arrays, scalars) -> None:
        """Puts `state()` back. Raises UserError when the networks have another shape than what was saved."""
        saving.assign(self._variables(), arrays)

    def acting_variables(self, judges: bool = False) -> dict:
        """What another process needs to act as this one does, by name; with `judges` also for TD errors."""
        layers = self.nets.parts()
        names = {"rep", "policy", "normalizer"}
        if judges or not self.choice.trained:  # then the critics choose
            names |= {name for name in layers if name.startswith("critic")}
        owners = {name: layer for name, layer in layers.items() if judges or name in names} | self.extras.layers()
        return saving.variables(owners | ({"temperatures": self.temperatures} if judges else {}))

    def _variables(self) -> dict:
        optimizers = {f"optimizer_{name}": optimizer for name, (optimizer, _) in self.trained.items()}
        owners = self.nets.parts() | self.extras.layers() | {"temperatures": self.temperatures} | optimizers
        return saving.variables(owners) | {"updates": self.updates}
