"""An actor's agent without networks: it asks the learner for every action."""

from __future__ import annotations

from typing import Any

import numpy as np

from sac.distributed.policy_client import PolicyClient
from sac.types import Choice, Noise, Obs, Spec, obs_columns


class RunEnded(Exception):  # noqa: N818 - no error
    """The run is over, or a signal came, while the actor waited for the learner or the replay."""


class RemoteAgent:
    """Has the interface of an agent that acts; its process needs neither networks nor TensorFlow."""

    def __init__(self, spec: Spec, state_size: int, candidates: int, policy: PolicyClient):
        self.spec, self.state_size, self.candidates = spec, state_size, candidates
        self.previous_size = spec.action_size if state_size else 0
        self._policy = policy

    def act(
        self, obs: Obs, mask: np.ndarray, previous: np.ndarray, state: np.ndarray, noise: Noise, seed: Any,
        epsilon: float = 0.0, extra_std: float = 0.0, explores: bool = True,
    ) -> Choice:  # fmt: skip
        """Actions of k agents, chosen by the learner; arguments as those of `ActionSelector`.

        Raises RunEnded when the run ends before the answer comes.
        """
        k = len(mask)
        if k == 0:
            return self._no_choice(state)
        each = {"epsilon": np.full(k, epsilon, np.float32), "noise": np.full(k, extra_std, np.float32)}
        asked = obs_columns(obs) | {"mask": mask, "previous": previous, "state": state, **noise._asdict(), **each}
        choice = self._policy.choose(asked)
        if choice is None:
            raise RunEnded
        return choice

    def check_noise(self) -> None:
        """The learner has checked that its policy takes extra noise; there is nothing to check here."""

    def _no_choice(self, state: np.ndarray) -> Choice:
        """The Choice of no agents; the learner need not be asked."""
        nothing = np.zeros((0, self.spec.continuous), np.float32)
        discrete = np.zeros((0, len(self.spec.branches)), np.int32)
        return Choice(nothing, nothing, discrete, np.zeros((0, 2), np.float32), state)
