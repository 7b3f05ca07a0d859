"""Soft actor-critic itself: `act` on observations, `update` from windows. One unified form for every action kind.

Haarnoja et al., arXiv:1812.05905 (temperatures, twin critics), Christodoulou, arXiv:1910.07207 (discrete),
Delalleau et al., arXiv:1912.11077 (hybrid), Chen et al., arXiv:2101.05982 (ensembles, random subsets).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from sac.backend import keras, tf
from sac.errors import UserError
from sac.hyper import Hyper
from sac.nets import saving
from sac.nets.action_distribution import one_hot
from sac.nets.contract import Networks, scaled
from sac.ops import losses, returns, soft_value
from sac.types import Batch, Choice

LOG_ALPHA_MIN, LOG_ALPHA_MAX = -10.0, 2.0
FOR_TARGET, FOR_POLICY = 1, 2  # streams of the update's randomness
KINDS = ("continuous", "discrete")


class Temperatures(keras.layers.Layer):
    """log alpha of the continuous and of the discrete entropy, as one weight [2]."""

    def __init__(self, initial: float):
        super().__init__(name="temperatures")
        self.log_alpha = self.add_weight(shape=(2,), initializer=keras.initializers.Constant(initial), name="log_alpha")


class Agent:
    """Networks, optimizers and temperatures with the two compiled functions that use them."""

    def __init__(self, networks: Networks, hyper: Hyper, seed: int):
        self.nets, self.hyper, self.spec, self.seed = networks, hyper, networks.spec, seed
        self.state_size, self.previous_size = networks.state_size, networks.previous_size
        self.temperatures = Temperatures(hyper.init_log_alpha)
        self.updates = keras.Variable(0, dtype="int32", trainable=False, name="updates")
        self._kinds = [i for i, size in enumerate((self.spec.continuous, self.spec.choices)) if size]
        adam = partial(
            keras.optimizers.Adam, hyper.learning_rate,
            weight_decay=hyper.weight_decay or None, global_clipnorm=hyper.grad_clip_norm,
        )  # fmt: skip
        self.trained = {
            "critic": (adam(), networks.critic_weights),
            "policy": (adam(), networks.policy.trainable_weights),
            "temperature": (keras.optimizers.Adam(hyper.learning_rate), [self.temperatures.log_alpha]),
        }
        for optimizer, weights in self.trained.values():
            optimizer.build(weights)
        self.metric_names = self._metric_names()
        self.traces = 0  # how often `update` was traced; one for each K, a test holds it there
        self._compiled_update = tf.function(self._update_many, jit_compile=hyper.jit, autograph=False)
        self._compiled_act = tf.function(self._act, jit_compile=hyper.jit, autograph=False)
        self._updates = {}
        self._acts = {}  # for each k, without tf.function's dispatch: 0.32 instead of 0.56 CPU-ms a call

    def _metric_names(self) -> list[str]:
        names = ["critic/loss", "critic/q", "critic/target", "critic/td_error", "policy/loss"]
        for kind in (KINDS[i] for i in self._kinds):
            names += [f"policy/entropy_{kind}", f"alpha/{kind}", f"alpha/{kind}_at_bound"]
        return names + ["policy/ratio"] * (self.hyper.steps > 1)

    # --- acting

    def _act(self, obs, mask, previous_action, state, normal, gumbel, greedy):
        z, state = self.nets.rep(scaled(obs, self.spec), previous_action, state)
        pi = self.nets.policy(z).masked(mask)
        drawn, mode = pi.from_noise(normal, gumbel), pi.mode(normal, gumbel)
        raw, discrete = (tf.where(greedy, m, d) for m, d in zip(mode, drawn))
        log_prob = tf.stack([pi.continuous_log_prob(raw), pi.discrete_log_prob(one_hot(discrete, self.spec))], axis=-1)
        return raw, tf.tanh(raw), discrete, log_prob, state

    def act(self, obs, mask, previous_action, state, normal, gumbel, greedy=False) -> Choice:
        """Chooses for k agents from the noise handed in (standard-normal [k, A], Gumbel [k, C]), or the mode if greedy.

        k is padded to a power of two: any number of agents costs a handful of compilations.
        """
        k = len(mask)
        if k == 0:
            return Choice(normal, normal, np.zeros((0, len(self.spec.branches)), np.int32), np.zeros((0, 2)), state)
        more = (1 << (k - 1).bit_length()) - k
        inputs = (obs, mask, previous_action, state, normal, gumbel)
        if more:
            inputs = tf.nest.map_structure(lambda x: np.concatenate([x, np.repeat(x[:1], more, 0)]), inputs)
        inputs = tf.nest.map_structure(tf.convert_to_tensor, (*inputs, greedy))
        if k + more not in self._acts:
            self._acts[k + more] = self._run(self._compiled_act.get_concrete_function, *inputs)
        return Choice(*(x.numpy()[:k] for x in self._run(self._acts[k + more], *inputs)))

    # --- learning

    def update(self, batches: Batch) -> tuple[dict[str, tf.Tensor], np.ndarray]:
        """Runs K updates in one compiled call on batches with a leading axis [K].

        Returns the metrics averaged over K, and what the |TD errors| of each window come to [K, B].
        """
        inputs = tf.nest.map_structure(tf.convert_to_tensor, batches._replace(index=()))
        shape = tuple(batches.weight.shape)
        if shape not in self._updates:
            self._updates[shape] = self._run(self._compiled_update.get_concrete_function, inputs)
        metrics, td_error = self._run(self._updates[shape], inputs)
        return dict(zip(self.metric_names, metrics.numpy())), td_error.numpy()

    def _run(self, compiled, *inputs):
        """Calls a compiled function. Raises UserError when XLA cannot compile a user's network."""
        try:
            return compiled(*inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self.hyper.jit and ("XLA" in str(error) or "compile" in str(error)):
                advice = "set sac.jit=false to run without it"
                raise UserError(f"XLA cannot compile a network of nn.py; {advice} ({error})") from error
            raise

    def _update_many(self, batches: Batch):
        self.traces += 1
        k_total = batches.reward.shape[0]

        def body(k, sums, td):
            metrics, td_error = self._update_one(tf.nest.map_structure(lambda x: x[k], batches))
            sums += tf.stack([metrics[name] for name in self.metric_names])
            return k + 1, sums, tf.tensor_scatter_nd_update(td, [[k]], [td_error])

        start = (0, tf.zeros(len(self.metric_names)), tf.zeros(batches.weight.shape))
        _, sums, td = tf.while_loop(lambda k, *_: k < k_total, body, start)
        return sums / k_total, td

    def _update_one(self, batch: Batch):
        """One step of critics, policy, temperatures and targets; the order of SAC's algorithm box."""
        h, m = self.hyper, self.hyper.sequence_length
        self.updates.assign_add(1)
        obs, valid = scaled(batch.obs, self.spec), batch.valid[:, :m]
        taken, action = one_hot(batch.discrete, self.spec), tf.tanh(batch.continuous)
        z_target = self._encode(self.nets.target_rep, obs)

        with tf.GradientTape() as tape:
            z = self._encode(self.nets.rep, obs)
            q = soft_value.chosen_q(self._q(self.nets.critics, z[:, :m], action[:, :m]), taken[:, :m])
            with tape.stop_recording():
                target, ratio = self._targets(batch, z, z_target, action, taken)
                slow_q = self._q(self.nets.target_critics, z_target[:, :m], action[:, :m])
                clip_centre = soft_value.chosen_q(slow_q, taken[:, :m])  # dead code to XLA unless clip_epsilon > 0
            clip = h.clip_epsilon if self.spec.continuous else -1.0  # a purely discrete critic is never clipped
            critic_loss = losses.critic(q, target, clip_centre, batch.weight, valid, clip)
        self._descend("critic", tape, critic_loss)
        policy_loss, entropies = self._improve_policy(z[:, :m], batch.mask[:, :m], valid)
        self._adjust_temperatures(entropies, batch.mask[:, :m], valid)
        self._move_targets()

        td_error = tf.reduce_mean(tf.abs(q - target), axis=0)
        log_alpha = self.temperatures.log_alpha
        metrics = {
            "critic/loss": critic_loss,
            "critic/q": losses.masked_mean(tf.reduce_mean(q, 0), valid),
            "critic/target": losses.masked_mean(target, valid),
            "critic/td_error": losses.masked_mean(td_error, valid),
            "policy/loss": policy_loss,
            "policy/ratio": ratio,
        }
        for i, kind in enumerate(KINDS):
            metrics[f"policy/entropy_{kind}"] = losses.masked_mean(entropies[i], valid)
            metrics[f"alpha/{kind}"] = tf.exp(log_alpha[i])
            bound = tf.logical_or(log_alpha[i] <= LOG_ALPHA_MIN, log_alpha[i] >= LOG_ALPHA_MAX)
            metrics[f"alpha/{kind}_at_bound"] = tf.cast(bound, tf.float32)
        return metrics, losses.window_error(td_error, valid)

    def _targets(self, batch: Batch, z, z_target, action, taken):
        """Targets of Q [B, m] and the mean clipped ratio pi / mu. Values belong to the states 1 ... T."""
        h = self.hyper
        pi = self.nets.policy(z[:, 1:]).masked(batch.mask[:, 1:])
        raw, log_pi_c = self._fresh_action(pi, batch.reward.shape, FOR_TARGET)
        probs, entropy_d = pi.column_probs(raw), pi.discrete_entropy(raw)
        alpha_c, alpha_d = tf.unstack(tf.exp(self.temperatures.log_alpha))
        q = self._q(self.nets.target_critics, z_target[:, 1:], tf.tanh(raw), FOR_TARGET)
        bonus = soft_value.entropy_bonus(log_pi_c, entropy_d, alpha_c, alpha_d)
        value = soft_value.expected_q(q, probs, len(self.spec.branches)) + bonus

        # What was done in the states 1 ... T - 1; the last state's action is not in the window: its row is cut off.
        done_c, done_d = (tf.pad(x[:, 1:], [[0, 0], [0, 1], [0, 0]]) for x in (batch.continuous, taken))
        log_c, log_d = pi.continuous_log_prob(done_c)[:, :-1], pi.discrete_log_prob(done_d)[:, :-1]
        log_ratio = log_c + log_d - tf.reduce_sum(batch.log_prob[:, 1:], axis=-1)
        ratio = losses.masked_mean(returns.clipped_ratio(log_ratio, 1.0), batch.valid[:, 1:])
        soft_reward = -alpha_c * log_c - alpha_d * log_d
        if not h.use_n_step_is:
            log_ratio, soft_reward = tf.zeros_like(log_ratio), bonus[:, :-1]
        window = {
            "reward": batch.reward, "discount": batch.discount, "valid": batch.valid, "value": value,
            "log_ratio": log_ratio, "n": h.n_step, "gamma": h.gamma, "lam": h.v_lambda, "c_cap": h.v_c,
        }  # fmt: skip
        if h.trace == "retrace":
            stored = self._q(self.nets.target_critics, z_target[:, 1:-1], action[:, 1:], FOR_TARGET)
            stored_q = tf.reduce_min(soft_value.chosen_q(stored, taken[:, 1:]), axis=0)
            return returns.retrace(stored_q=stored_q, **window), ratio
        return returns.vtrace(soft_reward=soft_reward, rho_cap=h.v_rho, **window), ratio

    def _improve_policy(self, z, mask, valid):
        """Policy step on fresh actions; the representation is not trained by it. Returns loss and both entropies."""
        alpha_c, alpha_d = tf.unstack(tf.exp(self.temperatures.log_alpha))
        weights = self.nets.policy.trainable_weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([w.value for w in weights])
            pi = self.nets.policy(z).masked(mask)
            raw, log_pi_c = self._fresh_action(pi, valid.shape, FOR_POLICY)
            entropy_d = pi.discrete_entropy(raw)
            q = self._q(self.nets.critics, z, tf.tanh(raw), FOR_POLICY)
            value = soft_value.expected_q(q, pi.column_probs(raw), len(self.spec.branches))
            bonus = soft_value.entropy_bonus(log_pi_c, entropy_d, alpha_c, alpha_d)
            loss = -losses.masked_mean(value + bonus, valid)
        self._descend("policy", tape, loss)
        return loss, (-log_pi_c, entropy_d)

    def _adjust_temperatures(self, entropies, mask, valid):
        if not self.hyper.use_auto_alpha:
            return
        legal = soft_value.largest_entropy(mask, self.spec.branches)
        targets = -float(self.spec.continuous), self.hyper.target_entropy_ratio * legal
        variable = self.temperatures.log_alpha
        with tf.GradientTape() as tape:
            log_alpha = tf.unstack(tf.convert_to_tensor(variable))
            loss = sum(losses.temperature(log_alpha[i], entropies[i], targets[i], valid) for i in self._kinds)
        self._descend("temperature", tape, loss)
        variable.assign(tf.clip_by_value(variable, LOG_ALPHA_MIN, LOG_ALPHA_MAX))

    def _encode(self, rep, obs):
        """Features of all T + 1 states [B, T + 1, F]."""
        lead = next(iter(obs.values())).shape[:2]
        return rep(obs, tf.zeros((*lead, 0)), tf.zeros((*lead, 0)))[0]

    def _q(self, critics, z, action, subset: int | None = None):
        """All critics' columns [E, ..., C], or those of a fresh random subset [M, ..., C] if a stream is named."""
        q = tf.stack([critic(z, action) for critic in critics])
        size = self.hyper.ensemble_q_sample
        if subset is None or size == len(critics):
            return q
        return tf.gather(q, soft_value.random_subset(len(critics), size, self._seed(10 + subset)))

    def _fresh_action(self, pi, lead, stream: int):
        """A reparameterised continuous action of the current policy, raw [*lead, A], and its log-probability."""
        noise = tf.random.stateless_normal((*lead, self.spec.continuous), self._seed(stream))
        raw = noise if pi.continuous is None else pi.continuous.from_noise(noise)
        return raw, pi.continuous_log_prob(raw)

    def _seed(self, stream: int):
        return tf.stack([(self.seed * 100 + stream) % 2**31, tf.convert_to_tensor(self.updates)])

    def _descend(self, part: str, tape, loss):
        optimizer, weights = self.trained[part]
        optimizer.apply(tape.gradient(loss, weights), weights)

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

    def _variables(self) -> dict:
        optimizers = {f"optimizer_{name}": optimizer for name, (optimizer, _) in self.trained.items()}
        owners = self.nets.parts() | {"temperatures": self.temperatures} | optimizers
        return saving.variables(owners) | {"updates": self.updates}
