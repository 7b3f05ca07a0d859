"""Small agents and random windows for the tests of the agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from sac.agent.agent import Agent
from sac.agent.hyperparameters import Hyperparameters
from sac.backend import keras, seed_everything, tf
from sac.nets.contract import Builder, build_networks
from sac.ops.discrete_choice import ByPolicy
from sac.ops.value_scale import Plain
from sac.types import Batch, Choice, Noise, Sensor, Spec

SENSORS = (Sensor("v", (3,)),)
SPECS = {
    "continuous": Spec(SENSORS, 2),
    "discrete": Spec(SENSORS, 0, (4,)),
    "hybrid": Spec(SENSORS, 2, (3,)),
    "branches": Spec(SENSORS, 1, (3, 2)),
}
DEFAULTS = OmegaConf.load(Path(__file__).parents[2] / "conf/sac/default.yaml")
HIDDEN = {"ModelPolicy": {"hidden": [16, 16]}, "ModelQ": {"hidden": [16, 16]}, "ModelRep": {"conv_units": 8}}


class TrainedRep(keras.layers.Layer):
    """A representation with weights; the default one has none for vectors."""

    def __init__(self, spec, **kwargs):
        super().__init__()
        self.dense = keras.layers.Dense(6, activation="tanh")

    def call(self, obs, previous_action, state):
        return self.dense(obs["v"]), state


def module(**classes) -> ModuleType:
    found = ModuleType("mine")
    found.__file__ = "nn.py"
    vars(found).update(classes)
    return found


def hyperparameters(**changes) -> Hyperparameters:
    """The hyperparameters of conf/sac/default.yaml with these changes."""
    return replace(Hyperparameters.of(DEFAULTS), **changes)


def make_agent(
    spec: Spec, *, seed=0, ensemble=2, nn: ModuleType | None = None, jit=False, choice=ByPolicy, scale=Plain,
    extras=None, networks=None, loaded_share=0.0, live=None, **hyper,
) -> Agent:  # fmt: skip
    """`extras` is an Extras, or a function of builder and spec that returns one; `networks` go to build_networks."""
    seed_everything(seed)
    kwargs = {name: value for name, value in HIDDEN.items() if not hasattr(nn, name)}
    build = Builder(nn, kwargs)
    nets = build_networks(spec, build, ensemble, **networks or {})
    extras = extras(build, nets.spec) if callable(extras) else extras
    return Agent(nets, hyperparameters(jit=jit, **hyper), seed, choice, scale, extras, loaded_share, live)


def observations(spec: Spec, rng, *lead) -> dict[str, np.ndarray]:
    return {
        s.name: rng.integers(0, 256, (*lead, *s.shape), dtype=np.uint8)
        if s.dtype == "uint8"
        else rng.normal(size=(*lead, *s.shape)).astype(np.float32)
        for s in spec.sensors
    }


def windows(spec: Spec, *lead: int, steps: int, seed=0, mask=None, state=0) -> Batch:
    """Random windows with leading axes [B] or [K, B]; some end in a truncation. All choices are legal."""
    rng = np.random.default_rng(seed)
    shape = (*lead, steps)
    mask = np.ones((*lead, steps + 1, spec.choices), bool) if mask is None else mask
    scores, first, discrete = np.where(mask, rng.random(mask.shape), -1)[..., :-1, :], 0, []
    for size in spec.branches:
        discrete.append(scores[..., first : first + size].argmax(-1))
        first += size
    valid = (np.arange(steps) < rng.integers(1, steps + 2, lead)[..., None]).astype(np.float32)
    return Batch(
        obs=observations(spec, rng, *lead, steps + 1),
        mask=mask,
        previous=rng.normal(size=(*lead, steps + 1, spec.action_size * bool(state))).astype(np.float32),
        raw_action=rng.normal(size=(*shape, spec.continuous)).astype(np.float32),
        discrete=np.stack(discrete, -1).astype(np.int32) if discrete else np.zeros((*shape, 0), np.int32),
        log_prob=(rng.uniform(-1.5, -0.5, (*shape, 2)) * [spec.continuous > 0, spec.choices > 0]).astype(np.float32),
        reward=rng.normal(size=shape).astype(np.float32),
        discount=(rng.random(shape) < 0.9).astype(np.float32),
        valid=valid,
        state=rng.normal(size=(*lead, state)).astype(np.float32),
        stored=rng.normal(size=(*lead, state)).astype(np.float32),
        weight=rng.uniform(0.3, 1, lead).astype(np.float32),
        index=np.zeros(lead, np.int64),
    )


def single(batch: Batch, k: int | None = None) -> Batch:
    """Batch k of [K, ...] with a leading axis of 1, or a batch [B, ...] with such an axis added."""

    def pick(x):
        if isinstance(x, dict):
            return {name: pick(value) for name, value in x.items()}
        return x[None] if k is None else x[k : k + 1]

    return Batch(*map(pick, batch))


def draw(agent: Agent, k: int, rng) -> Noise:
    n, f32 = agent.candidates, np.float32
    normal, gumbel = rng.normal(size=(k, n, agent.spec.continuous)), rng.gumbel(size=(k, n, agent.spec.choices))
    return Noise(normal.astype(f32), gumbel.astype(f32), rng.gumbel(size=(k, n)).astype(f32), rng.random(k, f32))


def act(agent: Agent, obs, mask=None, *, seed=0, layer_seed=(0, 0), epsilon=0.0, explores=True, greedy=False) -> Choice:
    k = len(next(iter(obs.values())))
    rng = np.random.default_rng(seed)
    noise = draw(agent, k, rng)
    mask = np.ones((k, agent.spec.choices), bool) if mask is None else mask
    empty = np.zeros((k, 0), np.float32)
    return agent.act(
        obs, mask, empty, empty, noise, layer_seed, epsilon, explores=explores and not greedy, greedy=greedy
    )


def weights(agent: Agent) -> dict[str, np.ndarray]:
    """A copy of all variables of an agent, by name."""
    return {name: np.array(x) for name, x in agent.state()[0].items()}


def in_graph(function: Callable[[], Any]) -> Any:
    """What the function returns when it runs in a graph, where gradients can be taken."""
    return tf.function(function, autograph=False)()


def set_policy_head(agent: Agent, bias) -> None:
    """Makes the policy the same in every state: the last layer's kernel 0 and this bias (mean, log std, logits)."""
    head = agent.nets.policy.body.stack[-1]
    head.kernel.assign(tf.zeros_like(head.kernel))
    head.bias.assign(np.asarray(bias, np.float32))
