"""The weights that acting needs, at both ends of the wire: the learner publishes copies, an actor assigns them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sac.errors import UserError
from sac.nets import saving
from sac.types import Choice, obs_of
from sac.wire.codec import Columns
from sac.wire.messages import as_noise


class ActingWeights:
    """The variables of an agent that acting needs, by name; with TD errors also the variables that these need."""

    def __init__(self, agent: Any, with_td_errors: bool):
        self._variables: dict[str, Any] = agent.acting_variables(with_td_errors)
        self.schema: Columns = {name: (tuple(v.shape), str(v.dtype)) for name, v in self._variables.items()}

    def copy(self) -> dict[str, np.ndarray]:
        """A copy of their present values."""
        return {name: np.array(v) for name, v in self._variables.items()}

    def assign(self, weights: Mapping[str, np.ndarray]) -> None:
        """Puts these values into the agent. Raises UserError for weights of other networks."""
        if weights.keys() != self._variables.keys():
            raise UserError("the learner's networks have other weights: all roles need the same nn.py")
        saving.assign(self._variables, weights)


class ServedPolicy:
    """What the learner gives to actors: copies of its weights, and actions of a second agent that holds the newest.

    The second agent, which `make_agent()` makes when an actor first asks for an action, keeps the weights of the last
    publication while the learner's own agent is trained.
    """

    def __init__(self, agent: Any, make_agent: Callable[[], Any], with_td_errors: bool):
        self._weights, self._seed = ActingWeights(agent, with_td_errors), agent.seed
        self._make_agent, self._with_td_errors = make_agent, with_td_errors
        self._acting_agent: Any = None
        self._acting_weights: ActingWeights | None = None
        self._calls = secrets.randbits(30)  # each process starts from another number, so that no noise is repeated
        self._latest: Mapping[str, np.ndarray] = {}
        self._assigned: Mapping[str, np.ndarray] | None = None  # what the second agent holds

    @property
    def schema(self) -> Columns:
        return self._weights.schema

    def copy(self) -> Mapping[str, np.ndarray]:
        """A copy of the present weights, with which `act` chooses from now on."""
        self._latest = self._weights.copy()
        return self._latest

    def act(self, arrays: Mapping[str, np.ndarray]) -> Choice:
        """Chooses actions with the weights of the last `copy`; may be called from any one thread."""
        if self._acting_weights is None:
            self._acting_agent = self._make_agent()
            self._acting_weights = ActingWeights(self._acting_agent, self._with_td_errors)
        if self._assigned is not self._latest:
            self._assigned = self._latest
            self._acting_weights.assign(self._assigned)
        self._calls += 1
        layers = (self._seed * 100) % 2**31, self._calls % 2**31  # noisy layers draw other noise at each call
        choice: Choice = self._acting_agent.act(
            obs_of(arrays), arrays["mask"], arrays["previous"], arrays["state"], as_noise(arrays), layers,
            epsilon=arrays["epsilon"], extra_std=arrays["noise"],
        )  # fmt: skip
        return choice
