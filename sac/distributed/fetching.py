"""When an actor fetches the learner's newest weights, and where it puts them."""

from __future__ import annotations

from sac.distributed.policy_client import PolicyClient
from sac.distributed.weights import ActingWeights

LONG_ITERATION_TURNS = 1_000  # turns after which weights are fetched although no iteration has ended


class FetchSchedule:
    """Fetching is due every `every` transitions; -1: after each iteration, or after LONG_ITERATION_TURNS turns.

    The number of turns serves tasks whose iterations never end: there the actor would keep its first policy.
    """

    def __init__(self, every: int):
        self._every, self._transitions, self._turns, self._iteration_ended = every, 0, 0, False

    def count(self, transitions: int, iteration_ended: bool) -> None:
        """Counts one turn that brought so many transitions."""
        self._turns += 1
        self._transitions += transitions
        self._iteration_ended |= iteration_ended

    def due(self) -> bool:
        """Whether it is time to fetch; if so, counting starts again at 0."""
        iteration_over = self._iteration_ended or self._turns >= LONG_ITERATION_TURNS
        due = iteration_over if self._every < 0 else self._transitions >= self._every
        if due:
            self._transitions, self._turns, self._iteration_ended = 0, 0, False
        return due


class FetchedPolicy:
    """Keeps the weights of this actor's agent up to date with those of the learner."""

    def __init__(self, policy: PolicyClient, weights: ActingWeights, schedule: FetchSchedule):
        self._policy, self._weights, self._schedule = policy, weights, schedule

    def fetch(self) -> bool:
        """Assigns newer weights if there are any; False while the learner has published none yet.

        Raises UserError for weights of other networks.
        """
        weights = self._policy.fetch()
        if weights is not None:
            self._weights.assign(weights)
        return self._policy.version > 0

    def after_turn(self, transitions: int, iteration_ended: bool) -> None:
        """Counts a turn and fetches when that is due."""
        self._schedule.count(transitions, iteration_ended)
        if self._schedule.due():
            self.fetch()
