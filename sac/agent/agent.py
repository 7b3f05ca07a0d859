"""Soft actor-critic: what one update does with windows, in one form for continuous, discrete and hybrid actions.

Haarnoja et al., arXiv:1812.05905 (temperatures, twin critics), Christodoulou, arXiv:1910.07207 (discrete),
Delalleau et al., arXiv:1912.11077 (hybrid), Chen et al., arXiv:2101.05982 (ensembles, random subsets).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from sac.agent.action_selection import ActionSelector
from sac.agent.cloning import Cloning
from sac.agent.critic_update import CriticUpdate
from sac.agent.encoding import Encoder, TrainedStates
from sac.agent.hyperparameters import Hyperparameters
from sac.agent.live_numbers import LiveNumbers
from sac.agent.optimizers import Trained, adam
from sac.agent.packing import Layout, Packed
from sac.agent.policy_update import PolicyUpdate
from sac.agent.q_estimate import QEstimate
from sac.agent.rng import RngStreams, Stream
from sac.agent.targets import Targets
from sac.agent.temperature import Temperatures
from sac.agent.variables import AgentVariables
from sac.backend import Compiled, ForAnyNumber, Tensor, keras, tf
from sac.errors import UserError
from sac.extras.extra import Extras
from sac.nets import noisy, saving
from sac.nets.contract import Networks
from sac.nets.normalizer import ObservationStatistics
from sac.ops import losses
from sac.ops.discrete_choice import ByPolicy, DiscreteChoice
from sac.ops.loops import repeated
from sac.ops.value_scale import Plain
from sac.types import Batch

MAX_PICTURED_WINDOWS = 4


class UpdateResult(NamedTuple):
    """What K updates found in their windows."""

    td_error: np.ndarray  # [K, B]: the |TD error| of each window, from which its priority is made
    state: np.ndarray  # [K, B, S]: the recurrent state of the first trained row, by today's weights


class Agent:
    """Networks, optimizers and temperatures with the compiled functions that use them.

    `choice` says how discrete actions are chosen, `scale` in which unit critics keep values, `extras` are optional
    parts, `loaded_share` is the share of loaded windows, the first ones, in every batch, `live` are the first values of
    hyperparameters that may change.
    `act` chooses actions, `update` learns, `estimate_q` gives Q of rows.
    """

    def __init__(
        self, networks: Networks, hyper: Hyperparameters, seed: int, choice: DiscreteChoice = ByPolicy,
        scale: type[Plain] = Plain, extras: Extras | None = None, loaded_share: float = 0.0,
        live: Mapping[str, float] | None = None,
    ):  # fmt: skip
        self.live = LiveNumbers(hyper, live or {})
        hyper = self.live.hyper
        self.nets, self.hyper, self.spec, self.seed = networks, hyper, networks.spec, seed
        self.choice, self.scale, self.extras = choice, scale, extras or Extras()
        self.state_size, self.previous_size = networks.state_size, networks.previous_size
        noisy.number_streams([*networks.parts().values(), *self.extras.layers().values()])
        self.act = ActionSelector(networks, choice, self.extras, hyper.jit)
        self.estimate_q = QEstimate(networks, scale)
        self.candidates = self.extras.candidates  # number of actions from which one is chosen at each step
        self.temperatures = Temperatures(self.spec, hyper, choice.trained)
        self.updates = keras.Variable(0, dtype="int32", trainable=False, name="updates")
        self.rng = RngStreams(seed, self.updates, self.spec.continuous, hyper.ensemble_q_sample)
        self.encoder = Encoder(networks, hyper, self.rng)
        self.targets = Targets(networks, hyper, choice, scale, self.temperatures, self.rng)
        self.trained: dict[str, Trained] = {
            "critic": (adam(hyper), networks.critic_weights),
            "policy": (adam(hyper, every=hyper.policy_delay), networks.policy.trainable_weights),
            "temperature": (adam(hyper, regularised=False, every=hyper.policy_delay), [self.temperatures.log_alpha]),
            **{f"extra_{e.name}": (adam(hyper), e.trained) for e in self.extras.parts},
        }
        for optimizer, weights in self.trained.values():
            optimizer.build(weights)
        self._update_critics = CriticUpdate(networks, hyper, self.encoder, self.targets, self.extras, self.trained)
        cloning = Cloning(hyper, choice, loaded_share, self.updates)
        self._update_policy = PolicyUpdate(
            networks, hyper, choice, scale, self.temperatures, self.rng, cloning, self.trained["policy"]
        )
        optimizers = {name: optimizer for name, (optimizer, _) in self.trained.items()}
        self.variables = AgentVariables(
            networks, self.extras, self.temperatures, optimizers, self.updates, critics_choose=not choice.trained
        )
        self._policy_metric_names = ["policy/loss", *cloning.metric_names, *self.temperatures.metric_names]
        self._policy_metric_names += ["policy/saturated"] * (self.spec.continuous > 0)
        self._newest_policy_metrics = tf.Variable(tf.zeros(len(self._policy_metric_names)), trainable=False)
        self.metric_names = self._metric_names()
        self.traces = 0  # how often `update` was traced: once for each K
        self._compiled_updates: dict[tuple, tuple[Layout, Compiled]] = {}  # by the key of the layout
        self._compiled_td_error = ForAnyNumber(self._td_error, hyper.jit)

    def _metric_names(self) -> list[str]:
        """The keys of the metrics that `_step` returns, in the order in which they are reported."""
        names = ["critic/loss", "critic/q", "critic/target", "critic/td_error", *self._policy_metric_names]
        names += ["normalizer/clipped"] * bool(self.nets.normalizer.names)
        names += ["policy/ratio"] * (self.hyper.steps > 1) + ["recurrent/delta_q"] * (self.state_size > 0)
        return names + self.extras.metric_names

    def check_noise(self) -> None:
        """Raises UserError if the probability of an action with noise added before the squash cannot be computed."""
        if not self.nets.widens:
            raise UserError(
                "ModelPolicy returns a continuous distribution of its own that cannot take the noise of actors: "
                "give it a method widened(std), as TanhNormal has, or set base.noise_increasing_rate=0"
            )

    def normalise(self, stats: ObservationStatistics) -> None:
        """Takes over the statistics of observations."""
        self.nets.normalizer.take(stats)

    # --- learning

    def update(self, batches: Batch) -> tuple[dict[str, float], UpdateResult]:
        """Runs K updates in one compiled call on batches with a leading axis [K].

        Returns the metrics averaged over K, and what was found in each window.
        """
        key = Layout.key(batches)
        if key not in self._compiled_updates:
            layout = Layout(batches)
            self._compiled_updates[key] = layout, Compiled(partial(self._update_many, layout), self.hyper.jit)
        layout, compiled_update = self._compiled_updates[key]
        metrics, *found = compiled_update((), layout.pack(batches))
        self.act.forget_weights()
        return dict(zip(self.metric_names, metrics.numpy())), UpdateResult(*(x.numpy() for x in found))

    def td_error(self, batch: Batch) -> np.ndarray:
        """The |TD errors| that `update` would give these windows [B], without learning: their first priorities.

        Actors compute them as in Ape-X (arXiv:1803.00933). The random numbers are those of update number `updates`.
        """
        if not len(batch.weight):
            return np.zeros(0, np.float32)
        return self._compiled_td_error((_without_index(batch),))

    def _update_many(self, layout: Layout, packed: Packed) -> tuple[Tensor, Tensor, Tensor]:
        self.traces += 1
        k_total, batch_size, _ = packed.numbers.shape

        def body(k: Tensor, sums: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
            batch = layout.unpack(tf.nest.map_structure(lambda x: x[k], packed))
            metrics, td_error, state = self._update_one(batch)
            self._check_metrics(metrics, self.metric_names)
            sums += tf.stack([metrics[name] for name in self.metric_names])
            new = tf.concat([td_error[:, None], state], axis=-1)
            return sums, tf.tensor_scatter_nd_update(found, [[k]], [new])

        found = tf.zeros((k_total, batch_size, 1 + self.state_size))
        start = tf.zeros(len(self.metric_names)), found
        sums, found = repeated(k_total, body, start, unroll=self.spec.has_images)
        return sums / k_total, found[..., 0], found[..., 1:]

    @staticmethod
    def _check_metrics(metrics: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Runs while `update` is traced: a metric that `names` does not list would be lost silently."""
        different = sorted(set(metrics) ^ set(names))
        assert not different, f"metrics and metric_names differ in {different}"

    def _update_one(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """One update with its own random numbers."""
        self.updates.assign_add(1)
        with noisy.drawn(self.rng.seed(Stream.LAYER_NOISE)):
            return self._step(self._observed(batch))

    def _step(self, windows: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """One update in the order of arXiv:1812.05905, algorithm 1.

        Returns the metrics, the |TD error| of each window [B] and the recurrent state of its first trained row [B, S].
        """
        critics = self._update_critics(windows)
        states = critics.encoded.trained_states()
        policy_metrics = self._delayed(lambda: self._update_policy_and_temperatures(states))
        self._update_target_networks()
        return (
            critics.metrics | policy_metrics,
            losses.window_error(critics.td_error, states.valid),
            critics.encoded.state,
        )

    def _update_policy_and_temperatures(self, states: TrainedStates) -> dict[str, Tensor]:
        policy = self._update_policy(states)
        self._update_temperatures(states, policy.entropies)
        return policy.metrics | self.temperatures.metrics(policy.entropies, states.valid)

    def _delayed(self, step: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Takes `step` in one of `policy_delay` updates (TD3, arXiv:1802.09477, section 5.2); its newest metrics."""
        if self.hyper.policy_delay == 1:
            return step()

        def take() -> Tensor:
            metrics = step()
            self._check_metrics(metrics, self._policy_metric_names)
            found, newest = tf.stack([metrics[n] for n in self._policy_metric_names]), self._newest_policy_metrics
            newest.assign(tf.where(tf.reduce_all(tf.math.is_finite(found)), found, newest))
            return found

        due = tf.equal(self.updates % self.hyper.policy_delay, 0)
        newest = tf.cond(due, take, lambda: tf.identity(self._newest_policy_metrics))
        return dict(zip(self._policy_metric_names, tf.unstack(newest)))

    def _update_temperatures(self, states: TrainedStates, entropies: tuple[Tensor, Tensor]) -> None:
        """One gradient step of the temperatures towards the target entropies."""
        optimizer, _ = self.trained["temperature"]
        self.temperatures.adjust(optimizer, entropies, states.mask, states.valid, self.updates)

    def _update_target_networks(self) -> None:
        """Polyak step of critics and representation, every `update_target_per_step` updates."""
        due = tf.equal(self.updates % self.hyper.update_target_per_step, 0)
        tau = tf.where(due, self.hyper.tau, 0.0)
        for online, target in self.nets.target_pairs():
            target.assign(target + tau * (online - target))

    def _td_error(self, batch: Batch) -> Tensor:
        with noisy.drawn(self.rng.seed(Stream.LAYER_NOISE)):
            encoded = self.encoder.encode(self._observed(batch))
            q = self.encoder.q(encoded)
            _, target, _ = self._update_critics.rewarded_targets(encoded)
        return losses.window_error(losses.td_error(q, target), encoded.valid)

    def _observed(self, batch: Batch) -> Batch:
        """The batch with observations as networks see them."""
        return batch._replace(obs=self.nets.observe(batch.obs))

    def pictures(self, batches: Batch) -> dict[str, np.ndarray]:
        """What the extras show of the first windows of [K, B, ...]: {name: picture [H, W, channels] uint8}."""
        if not self.extras.parts:
            return {}
        first = tf.nest.map_structure(
            lambda x: tf.convert_to_tensor(x[0, :MAX_PICTURED_WINDOWS]), _without_index(batches)
        )
        window = self.encoder.encode(self._observed(first)).window
        shown = {name: np.concatenate(list(x), axis=1) for name, x in self.extras.pictures(window).items()}
        return {name: (np.clip(x, 0, 1) * 255).astype(np.uint8) for name, x in shown.items()}

    # --- variables

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """Every number of the agent by a flat name, and no scalars."""
        return saving.arrays(self.variables.all()), {}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping) -> None:
        """Puts `state()` back. Raises UserError when the saved networks have other shapes than these."""
        saving.assign(self.variables.all(), arrays)

    def change(self, numbers: Mapping[str, float]) -> None:
        """Sets live hyperparameters by name; a temperature that is not learned follows init_log_alpha."""
        self.live.assign(numbers)
        if "init_log_alpha" in numbers and not self.hyper.use_auto_alpha:
            self.temperatures.log_alpha.assign(tf.fill([2], numbers["init_log_alpha"]))

    def acting_variables(self, with_td_errors: bool = False) -> dict[str, keras.Variable]:
        """The variables that another process needs to act as this agent does; see AgentVariables."""
        return self.variables.acting(with_td_errors)

    def evolving_variables(self) -> dict[str, keras.Variable]:
        """The variables that a population draws anew; see AgentVariables."""
        return self.variables.evolving(learned_temperatures=self.hyper.use_auto_alpha)

    def begin_anew(self, other: Agent) -> None:
        """Takes over all variables of `other`, except for the count of updates."""
        arrays, _ = other.state()
        self.restore(arrays | {"updates": np.asarray(self.updates)}, {})


def _without_index(batch: Batch) -> Batch:
    """The batch without its arrival numbers: the networks do not use them, so TensorFlow does not get them."""
    return batch._replace(index=())  # type: ignore[arg-type]  # tf.nest passes over an empty tuple
