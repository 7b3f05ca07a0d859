"""How many updates the collected steps have earned."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

MAX_RATE_DENOMINATOR = 10**6  # the float 0.333... becomes the fraction 1/3 again


class RateLimiter:
    """Credit for updates: each collected transition earns u updates, each call of the learner spends K of them.

    All arithmetic is on integers (u as a fraction), so no rounding error builds up in a long run.
    """

    unlimited = False  # whether updates are granted without credit

    def __init__(
        self, updates_per_step: float, learning_starts: int, updates_per_call: int = 1, max_backlog_steps: int = 1
    ):
        """`updates_per_step` is u, `updates_per_call` is K.

        The first `learning_starts` transitions earn nothing. A learner that is too slow is owed the updates of
        `max_backlog_steps` transitions at most. Raises ValueError when u is negative or K is below 1.
        """
        if updates_per_step < 0 or updates_per_call < 1:
            raise ValueError(f"updates_per_step={updates_per_step}, updates_per_call={updates_per_call}")
        rate = Fraction(updates_per_step).limit_denominator(MAX_RATE_DENOMINATOR)
        self._rate, self._unit = rate.numerator, rate.denominator
        self._cost = updates_per_call * self._unit
        self._cap = max(self._cost, self._rate * max_backlog_steps)
        self._credit = 0  # counted in updates / unit
        self.learning_starts = learning_starts
        self.updates_per_call = updates_per_call
        self.steps = 0  # transitions so far
        self.earning_steps = 0  # transitions that earned credit
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
        """Updates that ran, for each earning transition."""
        return self.updates / max(1, self.earning_steps)

    def add_steps(self, n: int, ready: bool) -> None:
        """Counts `n` collected transitions; nothing is earned unless `ready`: the replay has a legal window.

        Before the new credit is added, the unspent credit is cut to max(K, u * max_backlog_steps). The debt to a slow
        learner therefore stays bounded, and a learner that spends all it can loses nothing, whatever `n` and K are.
        """
        self.steps += n
        if not ready:
            return
        n = max(0, min(n, self.steps - self.learning_starts))
        self.earning_steps += n
        self._credit = min(self._credit, self._cap) + n * self._rate

    def try_spend(self) -> bool:
        """Spends K updates and returns true, or returns false where the credit is smaller."""
        if self._credit < self._cost:
            return False
        self._credit -= self._cost
        self.updates += self.updates_per_call
        return True

    def state(self) -> tuple[dict[str, object], dict[str, int | str]]:
        """What a checkpoint holds: no arrays, and scalars ready for JSON."""
        return {}, {
            "steps": self.steps,
            "earning_steps": self.earning_steps,
            "updates": self.updates,
            "credit": str(Fraction(self._credit, self._unit)),
        }

    def restore(self, arrays: Mapping[str, object], scalars: Mapping[str, int | str]) -> None:
        """Continues from `state`; where the rate has changed, the credit is rounded down to the new unit."""
        self._credit = int(Fraction(scalars["credit"]) * self._unit)
        self.steps, self.earning_steps, self.updates = (int(scalars[k]) for k in ("steps", "earning_steps", "updates"))

    def rebuild(self, transitions: int, ready: bool) -> None:
        """Replaces a lost state: counts `transitions` and takes the updates they earned as done."""
        self.steps = self.earning_steps = self._credit = 0
        self.add_steps(transitions, ready)
        calls, self._credit = divmod(self.earning_steps * self._rate, self._cost)
        self.updates = calls * self.updates_per_call


class UnlimitedRate(RateLimiter):
    """Grants every call of the learner once `learning_starts` transitions have come (at least one)."""

    unlimited = True

    def add_steps(self, n: int, ready: bool) -> None:
        super().add_steps(n, ready)
        self._credit = 0

    def try_spend(self) -> bool:
        if self.steps < max(1, self.learning_starts):
            return False
        self.updates += self.updates_per_call
        return True
