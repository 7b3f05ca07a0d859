"""The nn.py contract: builds each network of a module on the Spec and says what is wrong in words.

A module defines only the classes that it changes: ModelRep, ModelPolicy, ModelQ, and those of the extras; the rest are
the defaults.
Every class takes the Spec first and the keywords of `base.nn_kwargs[<class name>]`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from sac.backend import keras, tf
from sac.errors import UserError
from sac.nets import auxiliary_defaults, defaults
from sac.nets.action_distribution import ActionDistribution
from sac.nets.normalizer import Normalizer
from sac.types import Sensor, Spec

DEFAULTS = {**vars(auxiliary_defaults), **vars(defaults)}
PROBE, WINDOW = 3, 5  # rows of the trial batch and steps of its windows: mixed-up axes show


@dataclass
class Networks:
    """Online and target networks of one agent. `spec` carries the feature width that the representation gives."""

    spec: Spec
    rep: keras.layers.Layer
    policy: keras.layers.Layer
    critics: list[keras.layers.Layer]
    target_rep: keras.layers.Layer
    target_critics: list[keras.layers.Layer]
    slow_policy: keras.layers.Layer | None = None  # follows the policy as targets do; only where it is clipped to it
    normalizer: Normalizer = field(default_factory=Normalizer)
    state_size: int = 0
    widens: bool = True  # actors may add noise to the policy's actions
    previous_size: int = field(init=False, default=0)

    def __post_init__(self):
        # A memoryless representation is handed a previous action of width 0: nothing stores one for it.
        self.previous_size = self.spec.action_size if self.state_size else 0

    def observe(self, obs):
        """Raw observations as networks see them: those with running statistics are not scaled before."""
        return self.normalizer(scaled(obs, self.spec, self.normalizer.names))

    def q(self, z, action):
        """All critics' columns [E, ..., C]."""
        return tf.stack([critic(z, action) for critic in self.critics])

    def target_q(self, z, action):
        """All target critics' columns [E, ..., C]."""
        return tf.stack([critic(z, action) for critic in self.target_critics])

    @property
    def critic_weights(self):
        """What the critic loss trains: the representation and every critic."""
        return [w for layer in (self.rep, *self.critics) for w in layer.trainable_weights]

    def target_pairs(self):
        """(online, target) weights for the Polyak step, non-trainable ones included."""
        online, target = [self.rep, *self.critics], [self.target_rep, *self.target_critics]
        if self.slow_policy is not None:
            online, target = [*online, self.policy], [*target, self.slow_policy]
        return [pair for a, b in zip(online, target) for pair in zip(a.weights, b.weights)]

    def parts(self):
        """Name -> layer, for checkpoints."""
        named = {"rep": self.rep, "policy": self.policy, "target_rep": self.target_rep, "normalizer": self.normalizer}
        named |= {f"critic_{i}": layer for i, layer in enumerate(self.critics)}
        named |= {f"target_critic_{i}": layer for i, layer in enumerate(self.target_critics)}
        return named if self.slow_policy is None else named | {"slow_policy": self.slow_policy}


def scaled(obs, spec: Spec, unscaled: Collection[str] = ()):
    """Raw observations as float32; sensors with bounds in [0, 1], but for those that `unscaled` names."""
    return {s.name: _scaled(obs[s.name], s, s.name not in unscaled) for s in spec.sensors}


def _scaled(x, sensor: Sensor, by_bounds: bool):
    x = tf.cast(x, tf.float32)
    if sensor.bounds is None or not by_bounds:
        return x
    offset, factor = sensor.offset_and_factor
    return (x - offset if np.any(offset) else x) * factor


class Builder:
    """Makes the classes of a user's module, or the defaults, and names them in every complaint."""

    def __init__(self, module: ModuleType | None = None, kwargs: Mapping[str, dict] | None = None):
        self.module, self.kwargs = module, kwargs or {}
        known = {n for n in DEFAULTS if n.startswith("Model")}
        unknown = sorted(set(self.kwargs) - known)
        if unknown:
            raise UserError(f"base.nn_kwargs names {unknown}; it takes the class names {sorted(known)}")

    def make(self, name: str, spec: Spec, **of_default):
        """An instance. `of_default` are keywords that only our default class takes."""
        mine = getattr(self.module, name, None)
        cls, kwargs = (mine, {}) if mine else (DEFAULTS[name], of_default)
        try:
            return cls(spec, **{**kwargs, **self.kwargs.get(name, {})})
        except Exception as error:
            what = f"{type(error).__name__}: {error} (it is called with the Spec and base.nn_kwargs.{name})"
            raise UserError(f"{self.where(name)} cannot be made: {what}") from error

    def where(self, name: str) -> str:
        mine = self.module is not None and hasattr(self.module, name)
        return f"{name} in {self.module.__file__}" if mine else f"the default {name}"

    def call(self, name: str, layer, *args):
        """Calls a network. Raises UserError when it fails."""
        try:
            return layer(*args)
        except UserError as error:
            raise UserError(f"{self.where(name)}: {error}") from error
        except Exception as error:
            shapes = ", ".join(str(tf.nest.map_structure(lambda x: tuple(x.shape), a)) for a in args)
            raise UserError(f"{self.where(name)} failed when called on inputs of shape {shapes}: {error}") from error

    def expect(self, name: str, what: str, found, expected: tuple):
        """Raises UserError when `found` is not a tensor of the expected shape."""
        if not hasattr(found, "shape") or tuple(found.shape) != expected:
            shape = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise UserError(f"{self.where(name)} must return {what} of shape {expected}, found {shape}")


def build_networks(
    spec: Spec, build: Builder, ensemble: int, *,
    recurrent: bool = False, normalized: Sequence[Sensor] = (), slow_policy: bool = False,
) -> Networks:  # fmt: skip
    """Makes and checks all networks. Raises UserError naming class, expected and found shape."""
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
    action = tf.zeros((PROBE, WINDOW, spec.continuous))
    for lead in (np.s_[:, 0], np.s_[:]):  # acting has one leading axis, learning has two: windows and their steps
        widens = _check_heads(build, spec, policies, critics, z[lead], action[lead])
    networks = Networks(
        spec, reps[0], policies[0], critics[:ensemble], reps[1], critics[ensemble:], *policies[1:],
        normalizer=Normalizer(normalized),
        state_size=state_size, widens=widens,
    )  # fmt: skip
    for online, target in networks.target_pairs():
        target.assign(online)
    return networks


def _probe(spec: Spec, state_size: int):
    """Observations, previous actions and the first state of a few random windows."""
    rng = np.random.default_rng(0)
    lead = PROBE, WINDOW
    obs = {s.name: (rng.random((*lead, *s.shape)) * (255 if s.dtype == "uint8" else 1)) for s in spec.sensors}
    obs = scaled({s.name: obs[s.name].astype(s.dtype) for s in spec.sensors}, spec)
    previous = rng.random((*lead, spec.action_size if state_size else 0)).astype(np.float32)
    return obs, tf.convert_to_tensor(previous), tf.zeros((PROBE, state_size))


def _check_rep(build: Builder, reps, inputs, state_size: int):
    """z [PROBE, WINDOW, F] of the first one; both get their weights."""
    obs, previous, state = inputs
    steps = []
    for t in range(WINDOW):
        out = build.call("ModelRep", reps[0], {name: x[:, t] for name, x in obs.items()}, previous[:, t], state)
        if not (isinstance(out, tuple) and len(out) == 2):
            raise UserError(f"{build.where('ModelRep')} must return (z, state), found {type(out).__name__}")
        z, state = out
        if len(getattr(z, "shape", ())) != 2:
            found = tuple(z.shape) if hasattr(z, "shape") else type(z).__name__
            raise UserError(f"{build.where('ModelRep')} must return z of shape ({PROBE}, features), found {found}")
        build.expect("ModelRep", "z", z, (PROBE, int(z.shape[-1])))
        build.expect("ModelRep", "state", state, (PROBE, state_size))
        steps.append(z)
    (z, last), _ = (build.call("ModelRep", rep, *inputs) for rep in reps)
    build.expect("ModelRep", "z", z, (PROBE, WINDOW, int(steps[0].shape[-1])))
    build.expect("ModelRep", "state", last, (PROBE, state_size))
    if not np.allclose(z, tf.stack(steps, axis=1), atol=1e-3, rtol=1e-3) or not np.allclose(last, state, atol=1e-3):
        raise UserError(
            f"{build.where('ModelRep')} says something else of a window [{PROBE}, {WINDOW}, ...] than of its steps "
            "one by one: it must go through the steps in order, from the state that it is given"
        )
    return z


def _check_heads(build: Builder, spec: Spec, policies, critics, z, action) -> bool:
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


def _check_distribution(build: Builder, spec: Spec, pi, lead: tuple) -> None:
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
