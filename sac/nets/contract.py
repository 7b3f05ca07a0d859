"""The nn.py contract: builds each network of a module on the Spec and says what is wrong in words.

A module defines only the classes that it changes: ModelRep, ModelPolicy, ModelQ; the rest are `sac.nets.defaults`.
Every class takes the Spec first and the keywords of `base.nn_kwargs[<class name>]`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType

from sac.backend import keras, tf
from sac.errors import UserError
from sac.nets import auxiliary_defaults, defaults
from sac.nets.action_distribution import ActionDistribution
from sac.types import Spec

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
    state_size: int = 0
    previous_size: int = field(init=False, default=0)

    def __post_init__(self):
        # A memoryless representation is handed a previous action of width 0: nothing stores one for it.
        self.previous_size = self.spec.continuous + self.spec.choices if self.state_size else 0

    @property
    def critic_weights(self):
        """What the critic loss trains: the representation and every critic."""
        return [w for layer in (self.rep, *self.critics) for w in layer.trainable_weights]

    def target_pairs(self):
        """(online, target) weights for the Polyak step, non-trainable ones included."""
        online, target = (self.rep, *self.critics), (self.target_rep, *self.target_critics)
        return [pair for a, b in zip(online, target) for pair in zip(a.weights, b.weights)]

    def parts(self):
        """Name -> layer, for checkpoints."""
        named = {"rep": self.rep, "policy": self.policy, "target_rep": self.target_rep}
        named |= {f"critic_{i}": layer for i, layer in enumerate(self.critics)}
        named |= {f"target_critic_{i}": layer for i, layer in enumerate(self.target_critics)}
        return named


def scaled(obs, spec: Spec):
    """Raw observations as networks see them: uint8 becomes float32 in [0, 1], the rest float32."""
    scale = {s.name: 1 / 255.0 if s.dtype == "uint8" else 1.0 for s in spec.sensors}
    return {name: tf.cast(obs[name], tf.float32) * factor for name, factor in scale.items()}


class Builder:
    """Makes networks of the user's module or of the defaults, and names the class when one fails."""

    def __init__(self, module: ModuleType | None, kwargs: dict):
        self.module, self.kwargs = module, kwargs
        known = {n for n in (*dir(defaults), *dir(auxiliary_defaults)) if n.startswith("Model")}
        unknown = sorted(set(kwargs) - known)
        if unknown:
            raise UserError(f"base.nn_kwargs names {unknown}; it takes the class names {sorted(known)}")

    def make(self, name: str, spec: Spec):
        own = defaults if hasattr(defaults, name) else auxiliary_defaults
        cls = getattr(self.module, name, None) or getattr(own, name)
        try:
            return cls(spec, **self.kwargs.get(name, {}))
        except Exception as error:
            what = f"{type(error).__name__}: {error} (it is called with the Spec and base.nn_kwargs.{name})"
            raise UserError(f"{self.where(name)} cannot be made: {what}") from error

    def where(self, name: str) -> str:
        mine = self.module is not None and hasattr(self.module, name)
        return f"{name} in {self.module.__file__}" if mine else f"the default {name}"

    def call(self, name: str, layer, *args):
        try:
            return layer(*args)
        except UserError as error:
            raise UserError(f"{self.where(name)}: {error}") from error
        except Exception as error:
            shapes = ", ".join(str(tf.nest.map_structure(lambda x: tuple(x.shape), a)) for a in args)
            raise UserError(f"{self.where(name)} failed when called on inputs of shape {shapes}: {error}") from error

    def expect(self, name: str, what: str, found, expected: tuple):
        if not hasattr(found, "shape") or tuple(found.shape) != expected:
            shape = tuple(found.shape) if hasattr(found, "shape") else type(found).__name__
            raise UserError(f"{self.where(name)} must return {what} of shape {expected}, found {shape}")


def build_networks(spec: Spec, module: ModuleType | None, kwargs: dict, ensemble: int) -> Networks:
    """Makes and checks all networks. Raises UserError naming class, expected and found shape."""
    build = Builder(module, kwargs)
    rep, target_rep = build.make("ModelRep", spec), build.make("ModelRep", spec)
    state_size = int(getattr(rep, "state_size", 0))
    previous_size = spec.continuous + spec.choices if state_size else 0
    obs = scaled({s.name: tf.zeros((PROBE, *s.shape), s.dtype) for s in spec.sensors}, spec)
    inputs = obs, tf.zeros((PROBE, previous_size)), tf.zeros((PROBE, state_size))
    out = build.call("ModelRep", rep, *inputs)
    build.call("ModelRep", target_rep, *inputs)
    if not (isinstance(out, tuple) and len(out) == 2):
        raise UserError(f"{build.where('ModelRep')} must return (z, state), found {type(out).__name__}")
    z, state = out
    if len(getattr(z, "shape", ())) != 2:
        found = tuple(z.shape) if hasattr(z, "shape") else type(z).__name__
        raise UserError(f"{build.where('ModelRep')} must return z of shape ({PROBE}, features), found {found}")
    build.expect("ModelRep", "z", z, (PROBE, int(z.shape[-1])))
    build.expect("ModelRep", "state", state, (PROBE, state_size))
    spec = spec.with_feature(int(z.shape[-1]))

    policy = build.make("ModelPolicy", spec)
    action = tf.zeros((PROBE, spec.continuous))
    critics = [build.make("ModelQ", spec) for _ in range(2 * ensemble)]
    _check_heads(build, spec, policy, critics, z, action)
    if not state_size:  # acting has one leading axis, learning has two: windows and their steps
        windows = [tf.nest.map_structure(lambda x: tf.stack([x] * WINDOW, axis=1), x) for x in (inputs, action)]
        z, state = build.call("ModelRep", rep, *windows[0])
        build.expect("ModelRep", "z", z, (PROBE, WINDOW, spec.feature))
        build.expect("ModelRep", "state", state, (PROBE, WINDOW, 0))
        _check_heads(build, spec, policy, critics[:1], z, windows[1])
    networks = Networks(spec, rep, policy, critics[:ensemble], target_rep, critics[ensemble:], state_size)
    for online, target in networks.target_pairs():
        target.assign(online)
    return networks


def _check_heads(build: Builder, spec: Spec, policy, critics, z, action) -> None:
    lead = tuple(z.shape[:-1])
    _check_distribution(build, spec, build.call("ModelPolicy", policy, z), lead)
    for critic in critics:
        build.expect("ModelQ", "Q columns", build.call("ModelQ", critic, z, action), (*lead, spec.columns))


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
        log_prob = build.call("ModelPolicy", pi.continuous.log_prob, raw)
        build.expect("ModelPolicy", "continuous log-probabilities", log_prob, lead)
    if spec.choices:
        build.expect("ModelPolicy", "logits", pi.logits, (*lead, spec.choices))
