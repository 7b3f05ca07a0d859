"""What a strategy of evolution decides: whose networks a generation needs, and how it changes each learner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sac.population.member import Member

Networks = Mapping[str, np.ndarray]
KEPT, DRAWN, COPIED, FRESH = "kept", "drawn", "copied", "fresh"  # what a generation makes of a learner


@dataclass(frozen=True)
class Change:
    """What a generation makes of a learner."""

    learner: str
    what: str  # kept | drawn | copied | fresh
    parents: str  # names, separated by spaces
    networks: Networks | None = None  # None: it stays as it is, or begins anew
    recent: Sequence[float] = ()  # measurements of the networks that it becomes a copy of, the newest last


class Strategy(Protocol):
    """Makes generations from learners and their scores. `compared` are the learners that were evaluated."""

    name: str  # as the keys that choose it are typed
    evolves: bool  # whether generations are made at all

    def donors(self, compared: Mapping[str, Member], random: np.random.Generator) -> list[str]:
        """The learners whose networks the next generation needs."""

    def changes(
        self, members: Mapping[str, Member], compared: Mapping[str, Member], donors: Mapping[str, Networks],
        random: np.random.Generator, random_of: Callable[[str], np.random.Generator],
    ) -> Sequence[Change]:  # fmt: skip
        """One Change for each compared learner, from the networks of the donors that have sent them.

        `random` gives the numbers that `donors` was given, `random_of(learner)` those of a learner's change.
        """

    def newcomer(self, learner: str, random: np.random.Generator) -> Change:
        """What a learner becomes that comes late or has diverged: without networks yet it begins anew."""

    def arrays(self) -> Networks:
        """What `newcomer` needs, to be saved with each generation."""

    def restore(self, arrays: Networks) -> None:
        """Continues from saved `arrays`; from none as if no generation had been made."""


class OnlyCompare:
    """Compares the learners and changes none."""

    name = "base.evolver_strategy=none"
    evolves = False

    def donors(self, compared: Mapping[str, Member], random: np.random.Generator) -> list[str]:
        return []

    def changes(
        self, members: Mapping[str, Member], compared: Mapping[str, Member], donors: Mapping[str, Networks],
        random: np.random.Generator, random_of: Callable[[str], np.random.Generator],
    ) -> Sequence[Change]:  # fmt: skip
        return []

    def newcomer(self, learner: str, random: np.random.Generator) -> Change:
        return Change(learner, FRESH, "")

    def arrays(self) -> Networks:
        return {}

    def restore(self, arrays: Networks) -> None:
        pass
