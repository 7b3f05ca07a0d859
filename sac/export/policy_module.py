"""A trained policy as one function of raw observations, with all that training does around the networks inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.joint_branches import joint_parts
from sac.agent import Agent
from sac.backend import Tensor, tf
from sac.export.contract import (
    CONTINUOUS,
    CONTINUOUS_MODE,
    DISCRETE,
    DISCRETE_MODE,
    MASKS,
    RECURRENT_IN,
    RECURRENT_OUT,
    Contract,
)
from sac.nets.action_distribution import ActionDistribution, one_hot
from sac.runs.scene_file import SceneLayout
from sac.types import Sensor

LEGAL = 0.5  # a mask holds 1 for a legal choice and 0 for a forbidden one
EDGE = 1e-6  # distance of uniform numbers from 0 and 1, whose logarithms are infinite


class PolicyModule(tf.Module):
    """The outputs of `contract` from its inputs: scaling, memory, masks, samples and the scene's own actions.

    A memory is the recurrent state and the previous action, all 0 when an episode begins. There are two of them, since
    nobody tells a model which of its actions were taken: the first belongs to the deterministic actions, the second to
    the sampled ones.
    """

    def __init__(self, agent: Agent, scene: SceneLayout):
        super().__init__()
        self.nets, self.spec, self.scene = agent.nets, agent.spec, scene
        self.policy_chooses = agent.choice.trained  # otherwise the critics choose the discrete actions
        self.state_size, self.memory_size = agent.state_size, agent.state_size + agent.previous_size
        self.contract = Contract.of(scene, 2 * self.memory_size)

    def function(self) -> Any:
        """The same as a tf.function with the inputs in the order of the contract."""
        names = [tensor.name for tensor in self.contract.inputs]
        signature = [tf.TensorSpec((None, *t.shape), t.dtype, t.name) for t in self.contract.inputs]
        return tf.function(lambda *inputs: self(dict(zip(names, inputs))), signature, autograph=False)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of the contract by name, without its constants."""
        obs = {s.name: _as_trained(inputs[f"obs_{i}"], s) for i, s in enumerate(self.spec.sensors)}
        obs = self.nets.observe(obs)
        mask = self._mask(inputs[MASKS]) if self.spec.branches else None
        memory = inputs[RECURRENT_IN][:, 0] if self.memory_size else tf.zeros((tf.shape(inputs["obs_0"])[0], 0))
        pi, z, state = self._policy(obs, mask, memory[:, : self.memory_size])
        mode = self._mode(pi, z)
        remembered = [state, *self._previous(mode)]
        if self.memory_size:
            pi, z, state = self._policy(obs, mask, memory[:, self.memory_size :])
        sample = self._sample(pi, z)
        remembered += [state, *self._previous(sample)]
        outputs = self._named(mode, CONTINUOUS_MODE, DISCRETE_MODE) | self._named(sample, CONTINUOUS, DISCRETE)
        if self.memory_size:
            outputs[RECURRENT_OUT] = tf.concat(remembered, axis=-1)[:, None]
        return outputs

    def _policy(
        self, obs: Mapping[str, Tensor], mask: Tensor | None, memory: Tensor
    ) -> tuple[ActionDistribution, Tensor, Tensor]:
        """The distribution of actions, the features [B, F] and the next recurrent state [B, S]."""
        z, state = self.nets.rep(obs, memory[:, self.state_size :], memory[:, : self.state_size])
        pi = self.nets.policy(z)
        return (pi if mask is None else pi.masked(mask)), z, state

    def _mode(self, pi: ActionDistribution, z: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable continuous actions [B, A] in [-1, 1] and choices [B, branches] of the networks."""
        raw = pi.raw_mode(tf.zeros((tf.shape(z)[0], self.spec.continuous)))
        return _squashed(raw), self._choices(pi, z, raw, 0.0)

    def _sample(self, pi: ActionDistribution, z: Tensor) -> tuple[Tensor, Tensor]:
        """The same, drawn from the distribution."""
        k, n = tf.shape(z)[0], self.spec.continuous
        raw = pi.raw_from_noise(tf.random.normal((k, n)) if n else tf.zeros((k, 0)))
        uniform = tf.clip_by_value(tf.random.uniform((k, self.spec.choices)), EDGE, 1 - EDGE)
        return _squashed(raw), self._choices(pi, z, raw, -tf.math.log(-tf.math.log(uniform)))

    def _choices(self, pi: ActionDistribution, z: Tensor, raw: Tensor, gumbel: Tensor | float) -> Tensor:
        if not self.spec.branches:
            return tf.zeros((tf.shape(z)[0], 0), tf.int32)
        if not self.policy_chooses:
            pi = pi.greedy(tf.reduce_mean(self.nets.q(z, _squashed(raw)), axis=0))
            gumbel = 0.0
        return pi.choices(tf.zeros_like(pi.logits) + gumbel)

    def _previous(self, action: tuple[Tensor, Tensor]) -> list[Tensor]:
        """An action as the networks get the previous one."""
        continuous, choice = action
        parts = [continuous] if self.spec.continuous else []
        return [*parts, one_hot(choice, self.spec)] if self.spec.branches else parts

    def _named(self, action: tuple[Tensor, Tensor], continuous: str, discrete: str) -> dict[str, Tensor]:
        """An action as the scene takes it, by the names of the contract."""
        named = {}
        if self.spec.continuous:
            named[continuous] = action[0]
            if self.scene.action_bounds is not None:
                low, high = (np.array(side, np.float32) for side in self.scene.action_bounds)
                named[continuous] = (action[0] + 1) * (high - low) / 2 + low
        if self.spec.branches:
            parts = joint_parts(self.scene.branches) if self.scene.joined else None
            named[discrete] = action[1] if parts is None else tf.gather(parts, action[1][:, 0])
        return named

    def _mask(self, mask: Tensor) -> Tensor:
        """The scene's mask [B, sum of branches] of ones and zeros as the networks' mask [B, C] of bool."""
        if self.scene.joined:
            k, (first, *others) = tf.shape(mask)[0], tf.split(mask, list(self.scene.branches), axis=1)
            for part in others:
                size = first.shape[1] * part.shape[1]
                first = tf.reshape(first[:, :, None] * part[:, None, :], (k, size))
            mask = first
        return mask > LEGAL


def _squashed(raw: Tensor) -> Tensor:
    """tanh, clipped since that of some engines exceeds 1 by a rounding error."""
    return tf.clip_by_value(tf.tanh(raw), -1.0, 1.0)


def _as_trained(x: Tensor, sensor: Sensor) -> Tensor:
    """An input as training stored it: pictures [B, C, H, W] in [0, 1] become bytes [B, H, W, C]."""
    if sensor.is_image:
        x = tf.transpose(x, (0, 2, 3, 1))
        return tf.round(tf.clip_by_value(x, 0.0, 1.0) * 255.0) if sensor.dtype == "uint8" else x
    return tf.reshape(x, (-1, *sensor.shape)) if len(x.shape) - 1 != len(sensor.shape) else x
