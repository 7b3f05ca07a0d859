"""How many updates the collected steps have earned."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction


class RateLimiter:
    """Credit for updates: each real transition earns u, each call of K updates spends K.

    All arithmetic is on integers (u as a fraction), so nothing drifts however long a run is.
    """

    endless = False  # updates are granted whatever was earned

    def __init__(self, updates_per_step: float, learning_starts: int, updates_per_call: int = 1, n_agents: int = 1):
        if updates_per_step < 0 or updates_per_call < 1:
            raise ValueError(f"updates_per_step={updates_per_step}, updates_per_call={updates_per_call}")
        rate = Fraction(updates_per_step).limit_denominator(10**6)  # 1 / 3 becomes exact again
        self._rate, self._unit = rate.numerator, rate.denominator
        self._cost = updates_per_call * self._unit
        self._cap = max(self._cost, self._rate * n_agents)
        self._credit = 0  # in 1 / unit of an update
        self.learning_starts = learning_starts
        self.updates_per_call = updates_per_call
        self.steps = 0  # transitions so far
        self.earning_steps = 0  # those of them that earned
        self.updates = 0

    @property
    def credit(self) -> float:
        """Updates that could run now."""
        return self._credit / self._unit

    @property
    def target(self) -> float:
        """Updates that each earning transition is meant to bring."""
        return self._rate / self._unit

    @property
    def ratio(self) -> float:
        """Realised updates per earning transition."""
        return self.updates / max(1, self.earning_steps)

    def add_steps(self, n: int, ready: bool) -> None:
        """Counts n real transitions; `ready` says that a legal start exists.

        The first `learning_starts` transitions earn nothing. What is still unspent when new credit comes is capped
        at max(K, u * n_agents), so a learner that cannot keep up does not owe for ever, while one that spends all it
        can loses nothing, whatever the sizes of chunk and K.
        """
        self.steps += n
        if not ready:
            return
        n = max(0, min(n, self.steps - self.learning_starts))
        self.earning_steps += n
        self._credit = min(self._credit, self._cap) + n * self._rate

    def take(self) -> bool:
        """Spends K credits if there are as many."""
        if self._credit < self._cost:
            return False
        self._credit -= self._cost
        self.updates += self.updates_per_call
        return True

    def state(self) -> tuple[dict, dict[str, int | str]]:
        """Everything that must survive: no arrays, and scalars ready for JSON."""
        return {}, {
            "steps": self.steps,
            "earning_steps": self.earning_steps,
            "updates": self.updates,
            "credit": str(Fraction(self._credit, self._unit)),
        }

    def restore(self, arrays: Mapping, scalars: Mapping[str, int | str]) -> None:
        """Continues from `state`; a changed rate keeps the credit as nearly as its unit allows."""
        self._credit = int(Fraction(scalars["credit"]) * self._unit)
        self.steps, self.earning_steps, self.updates = (int(scalars[k]) for k in ("steps", "earning_steps", "updates"))

    def rebuild(self, transitions: int, ready: bool) -> None:
        """In place of a state that was lost: so many transitions came, and what they earned was learnt."""
        self.steps = self.earning_steps = self._credit = 0
        self.add_steps(transitions, ready)
        calls, self._credit = divmod(self.earning_steps * self._rate, self._cost)
        self.updates = calls * self.updates_per_call


class Free(RateLimiter):
    """Lets the learner go on without pause once `learning_starts` transitions have come."""

    endless = True

    def add_steps(self, n: int, ready: bool) -> None:
        super().add_steps(n, ready)
        self._credit = 0

    def take(self) -> bool:
        if self.steps < max(1, self.learning_starts):
            return False
        self.updates += self.updates_per_call
        return True
