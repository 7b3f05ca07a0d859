"""The contract of nn.py: builds each network of a module on the Spec, and reports what breaks the contract.

A module defines only the classes that it changes: ModelRep, ModelPolicy, ModelQ, and those of the extras; defaults fill
in for the others. Every class takes the Spec first and then the keywords of `base.nn_kwargs[<class name>]`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from sac.backend import Tensor, keras, tf
from sac.errors import UserError
from sac.nets import auxiliary_defaults, defaults
from sac.nets.action_distribution import ActionDistribution
from sac.nets.normalizer import Normalizer
from sac.types import Sensor, Spec

DEFAULTS = {**vars(auxiliary_defaults), **vars(defaults)}
PROBE_ROWS, PROBE_STEPS = 3, 5  # of the trial batch of windows; they differ, so that exchanged axes are noticed


@dataclass
class Networks:
    """Online and target networks of one agent. `spec.feature` is the width F of the representation's features z."""

    spec: Spec
    rep: keras.layers.Layer
    policy: keras.layers.Layer
    critics: list[keras.layers.Layer]
    target_rep: keras.layers.Layer
    target_critics: list[keras.layers.Layer]
    slow_policy: keras.layers.Layer | None = None  # follows the policy as targets do; only for clip_epsilon_policy
    normalizer: Normalizer = field(default_factory=Normalizer)
    state_size: int = 0
    widens: bool = True  # the policy can take noise that actors add to its actions
    previous_size: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        # Without memory the previous action has width 0, so that the replay does not store it.
        self.previous_size = self.spec.action_size if self.state_size else 0

    def observe(self, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw observations as networks see them: scaled by bounds, or normalised by running statistics."""
        return self.normalizer(scaled(obs, self.spec, self.normalizer.names))

    def q(self, z: Tensor, action: Tensor) -> Tensor:
        """All critics' columns [E, ..., C], from z [..., F] and continuous actions [..., A] in [-1, 1]."""
        return tf.stack([critic(z, action) for critic in self.critics])

    def target_q(self, z: Tensor, action: Tensor) -> Tensor:
        """All target critics' columns [E, ..., C]."""
        return tf.stack([critic(z, action) for critic in self.target_critics])

    @property
    def critic_weights(self) -> list[keras.Variable]:
        """The weights that the critic loss trains: those of the representation, then those of every critic."""
        return [w for layer in (self.rep, *self.critics) for w in layer.trainable_weights]

    def target_pairs(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """(online, target) weights for the Polyak step, non-trainable ones included."""
        online, target = [self.rep, *self.critics], [self.target_rep, *self.target_critics]
        if self.slow_policy is not None:
            online, target = [*online, self.policy], [*target, self.slow_policy]
        return [pair for a, b in zip(online, target) for pair in zip(a.weights, b.weights)]

    def parts(self) -> dict[str, keras.layers.Layer]:
        """{name: layer}, by the names in checkpoints."""
        named = {"rep": self.rep, "policy": self.policy, "target_rep": self.target_rep, "normalizer": self.normalizer}
        named |= {f"critic_{i}": layer for i, layer in enumerate(self.critics)}
        named |= {f"target_critic_{i}": layer for i, layer in enumerate(self.target_critics)}
        return named if self.slow_policy is None else named | {"slow_policy": self.slow_policy}


def scaled(obs: Mapping[str, Tensor], spec: Spec, unscaled: Collection[str] = ()) -> dict[str, Tensor]:
    """Raw observations as float32. Sensors with bounds are scaled to [0, 1], except for the names in `unscaled`."""
    return {s.name: _scaled(obs[s.name], s, s.name not in unscaled) for s in spec.sensors}


def _scaled(x: Tensor, sensor: Sensor, by_bounds: bool) -> Tensor:
    x = tf.cast(x, tf.float32)
    if sensor.bounds is None or not by_bounds:
        return x
    offset, factor = sensor.offset_and_factor
    return (x - offset if np.any(offset) else x) * factor


class Builder:
    """Makes networks of the classes in a user's module, or of the default classes. Errors name the class.

    `kwargs` are the keywords of each class, {class name: {keyword: value}}. Raises UserError for an unknown class.
    """

    def __init__(self, module: ModuleType | None = None, kwargs: Mapping[str, dict] | None = None):
        self.module, self.kwargs = module, kwargs or {}
        known = {n for n in DEFAULTS if n.startswith("Model")}
        unknown = sorted(set(self.kwargs) - known)
        if unknown:
            raise UserError(f"base.nn_kwargs names {unknown}; it takes the class names {sorted(known)}")

    def make(self, name: str, spec: Spec, **of_default: Any) -> keras.layers.Layer:
        """An instance of the class `name`. `of_default` are keywords that only the default class takes.

        Raises UserError when it cannot be made.
        """
        own = getattr(self.module, name, None)
        cls, kwargs = (own, {}) if own else (DEFAULTS[name], of_default)
        try:
            return cls(spec, **{**kwargs, **self.kwargs.get(name, {})})
        except Exception as error:
            what = f"{type(error).__name__}: {error} (it is called with the Spec and base.nn_kwargs.{name})"
            raise UserError(f"{self.where(name)} cannot be made: {what}") from error

    def where(self, name: str) -> str:
        """The class and its file, for error messages."""
        if self.module is not None and hasattr(self.module, name):
            return f"{name} in {self.module.__file__}"
        return f"the default {name}"

    def call(self, name: str, layer: Callable[..., Any], *args: Any) -> Any:
        """Calls a network. Raises UserError when it fails."""
        try:
            return layer(*args)
        except UserError as error:
            raise UserError(f"{self.where(name)}: {error}") from error
        except Exception as error:
            shapes = ", ".join(str(tf.nest.map_structure(lambda x: tuple(x.shape), a)) for a in args)
            raise UserError(f"{self.where(name)} failed when called on inputs of shape {shapes}: {error}") from error

    def expect(self, name: str, what: str, found: Any, expected: tuple[int | str, ...]) -> None:
        """Raises UserError when `found` is not a tensor of the expected shape."""
        if not hasattr(found, "shape") or tuple(found.shape) != expected:
            shape = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise UserError(f"{self.where(name)} must return {what} of shape {expected}, found {shape}")


def build_networks(
    spec: Spec, build: Builder, ensemble: int, *,
    recurrent: bool = False, normalized: Sequence[Sensor] = (), slow_policy: bool = False,
) -> Networks:  # fmt: skip
    """Makes and checks all networks: `ensemble` critics, and a slow policy for clip_epsilon_policy.

    `recurrent` says whether the representation must have a memory; `normalized` are the sensors that get running
    statistics. Raises UserError with the class, the expected and the found shape.
    """
    cell = {"cell": "gru"} if recurrent else {}
    reps = [build.make("ModelRep", spec, **cell) for _ in range(2)]
    state_size = int(getattr(reps[0], "state_size", 0))
    if recurrent != (state_size > 0):
        kind = "has no memory (state_size 0)" if recurrent else f"has a memory (state_size {state_size})"
        need = "give it a state_size, or set sac.use_rnn=false" if recurrent else "set sac.use_rnn=true"
        raise UserError(f"{build.where('ModelRep')} {kind} and sac.use_rnn={str(recurrent).lower()}: {need}")
    inputs = _probe(spec, state_size)
    z = _check_rep(build, reps, inputs, state_size)
    spec = spec.with_feature(int(z.shape[-1]))

    policies = [build.make("ModelPolicy", spec) for _ in range(1 + slow_policy)]
    critics = [build.make("ModelQ", spec) for _ in range(2 * ensemble)]
    action = tf.zeros((PROBE_ROWS, PROBE_STEPS, spec.continuous))
    for lead in (np.s_[:, 0], np.s_[:]):  # acting has one leading axis, learning has two: windows and their steps
        widens = _check_heads(build, spec, policies, critics, z[lead], action[lead])
    networks = Networks(
        spec, reps[0], policies[0], critics[:ensemble], reps[1], critics[ensemble:],
        slow_policy=policies[1] if slow_policy else None, normalizer=Normalizer(normalized), state_size=state_size,
        widens=widens,
    )  # fmt: skip
    for online, target in networks.target_pairs():
        target.assign(online)
    return networks


def _probe(spec: Spec, state_size: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Observations, previous actions and the first state of a few random windows."""
    rng = np.random.default_rng(0)
    lead = PROBE_ROWS, PROBE_STEPS
    raw = {s.name: (rng.random((*lead, *s.shape)) * (255 if s.dtype == "uint8" else 1)) for s in spec.sensors}
    obs = scaled({s.name: raw[s.name].astype(s.dtype) for s in spec.sensors}, spec)
    previous = rng.random((*lead, spec.action_size if state_size else 0)).astype(np.float32)
    return obs, tf.convert_to_tensor(previous), tf.zeros((PROBE_ROWS, state_size))


def _check_rep(build: Builder, reps: Sequence[keras.layers.Layer], inputs: tuple, state_size: int) -> Tensor:
    """z [PROBE_ROWS, PROBE_STEPS, F] of the first representation; the calls create the weights of both."""
    obs, previous, state = inputs
    steps = []
    for t in range(PROBE_STEPS):
        out = build.call("ModelRep", reps[0], {name: x[:, t] for name, x in obs.items()}, previous[:, t], state)
        if not (isinstance(out, tuple) and len(out) == 2):
            raise UserError(f"{build.where('ModelRep')} must return (z, state), found {type(out).__name__}")
        z, state = out
        if len(getattr(z, "shape", ())) != 2:
            found = tuple(z.shape) if hasattr(z, "shape") else type(z).__name__
            raise UserError(f"{build.where('ModelRep')} must return z of shape ({PROBE_ROWS}, features), found {found}")
        build.expect("ModelRep", "z", z, (PROBE_ROWS, int(z.shape[-1])))
        build.expect("ModelRep", "state", state, (PROBE_ROWS, state_size))
        steps.append(z)
    (z, last), _ = (build.call("ModelRep", rep, *inputs) for rep in reps)
    build.expect("ModelRep", "z", z, (PROBE_ROWS, PROBE_STEPS, int(steps[0].shape[-1])))
    build.expect("ModelRep", "state", last, (PROBE_ROWS, state_size))
    if not np.allclose(z, tf.stack(steps, axis=1), atol=1e-3, rtol=1e-3) or not np.allclose(last, state, atol=1e-3):
        raise UserError(
            f"{build.where('ModelRep')} says something else of a window [{PROBE_ROWS}, {PROBE_STEPS}, ...] than of its "
            "steps one by one: it must go through the steps in order, from the state that it is given"
        )
    return z


def _check_heads(
    build: Builder, spec: Spec, policies: Sequence[keras.layers.Layer], critics: Sequence[keras.layers.Layer],
    z: Tensor, action: Tensor,
) -> bool:  # fmt: skip
    """Returns whether noise can be added to the policy's actions."""
    lead = tuple(z.shape[:-1])
    for policy in policies:
        pi = build.call("ModelPolicy", policy, z)
        _check_distribution(build, spec, pi, lead)
        wide = build.call("ModelPolicy", pi.widened, tf.fill((*lead, 1), 0.1))
        _check_distribution(build, spec, wide, lead)
    for critic in critics:
        build.expect("ModelQ", "Q columns", build.call("ModelQ", critic, z, action), (*lead, spec.columns))
    return pi.widens


def _check_distribution(build: Builder, spec: Spec, pi: Any, lead: tuple[int, ...]) -> None:
    if not isinstance(pi, ActionDistribution):
        raise UserError(f"{build.where('ModelPolicy')} must return an ActionDistribution, found {type(pi).__name__}")
    if spec.continuous:
        if pi.continuous is None:
            where = build.where("ModelPolicy")
            raise UserError(f"{where} gave no continuous part for {spec.continuous} continuous actions")
        shape = *lead, spec.continuous
        build.expect("ModelPolicy", "continuous actions", pi.continuous.mode(), shape)
        raw = build.call("ModelPolicy", pi.continuous.from_noise, tf.zeros(shape))
        build.expect("ModelPolicy", "continuous samples", raw, shape)
        log_probs = build.call("ModelPolicy", pi.continuous.log_probs, raw)
        build.expect("ModelPolicy", "continuous log-probabilities", log_probs, shape)
    if spec.choices:
        build.expect("ModelPolicy", "logits", pi.logits, (*lead, spec.choices))
