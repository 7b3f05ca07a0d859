"""The state of a population: its learners, their scores, its generations and their lineage. NumPy only."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import numpy as np

from sac.population.member import Member
from sac.population.numbers import written
from sac.population.strategy import FRESH, KEPT, Change, Networks, Strategy

BEST_BY_MEASUREMENTS = 10  # of each learner, by which the best one is told


@dataclass(frozen=True)
class Rules:
    """When generations are made."""

    length: int  # evaluations of each learner that make a generation due
    min_length: int  # evaluations of each learner that make a generation due once `seconds` have passed
    seconds: float  # time since the last generation, for `min_length`
    first_step: int = 0  # environment steps of each learner before the first generation


@dataclass(frozen=True)
class Descent:
    """A line of the lineage: how a generation has changed a learner, and from whose networks."""

    generation: int
    learner: str
    assigned: int
    what: str  # kept | drawn | copied | fresh
    parents: str
    mean_return: float  # of its evaluations before the change
    evaluations: int
    step: int
    numbers: str = ""  # its hyperparameters before the change, "key=value key=value"


class Evolution:
    """A population and the strategy that makes its generations. `clock` returns seconds."""

    def __init__(self, rules: Rules, strategy: Strategy, seed: int, clock: Callable[[], float] = time.monotonic):
        self.rules, self.strategy, self.seed, self._clock = rules, strategy, seed, clock
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.lineage: list[Descent] = []
        self._generation_at_seconds = clock()

    def join(self, name: str) -> Networks | None:
        """A learner has connected. Returns networks for a new learner once the strategy has some."""
        if name in self.members:
            self.members[name].ended = False
            return None
        self.members[name] = Member()
        change = self.strategy.newcomer(name, self.random(name))
        return self._change(change) if change.networks is not None else None

    def evaluated(self, name: str, assigned: int, step: int, value: float) -> bool:
        """Takes in a mean return; returns False when it is known already, or belongs to former networks."""
        member = self.members[name]
        if assigned != member.assigned or step <= member.step:
            return False
        member.step, member.latest = step, value
        member.scores = [*member.scores, value][-self.rules.length :]
        member.recent = [*member.recent, value][-BEST_BY_MEASUREMENTS:]
        return True

    def set_number(self, name: str, assigned: int) -> None:
        """Accepts the learner's own networks and number, which this population did not assign."""
        member = self.members[name]
        member.assigned, member.fresh = assigned, False
        member.forget_measurements()

    def taken_back(self, name: str) -> None:
        """The learner reports a number from before its latest change, which it makes again: what came after it is lost.

        A learner that has not heard of the change yet has nothing to lose.
        """
        if self.members[name].step >= 0:
            self.members[name].forget_measurements()

    def diverged(self, name: str) -> Networks | None:
        """The learner's weights are not finite: returns other networks.

        Returns None when the learner shall begin anew: where the strategy has no networks for it yet, and when it
        diverged before any evaluation of the networks that it was given.
        """
        member = self.members[name]
        was_given = member.assigned > 0 and not member.fresh
        if was_given and member.step < 0:
            return self._change(Change(name, FRESH, ""))
        return self._change(self.strategy.newcomer(name, self.random(name)))

    def due(self, present: Collection[str]) -> bool:
        """Whether the connected learners have been evaluated often enough for a generation.

        Nobody waits for a learner that began anew and was not evaluated since: it may diverge again and again.
        """
        running = [
            member for name, member in self.members.items()
            if name in present and not member.ended and not (member.fresh and member.step < 0)
        ]  # fmt: skip
        if len(running) < 2 or not self.strategy.evolves:
            return False
        if not self.generation and any(member.step < self.rules.first_step for member in running):
            return False
        late = self._clock() - self._generation_at_seconds >= self.rules.seconds
        least = min(self.rules.min_length, self.rules.length) if late else self.rules.length
        return all(len(member.scores) >= least for member in running)

    def donors(self, present: Collection[str]) -> list[str]:
        """The connected learners whose networks the next generation needs."""
        return self.strategy.donors(self._compared(present), self.random())

    def evolve(self, donors: Mapping[str, Networks], present: Collection[str]) -> dict[str, Networks | None]:
        """Makes a generation from the networks of its donors; returns the networks of each learner that changes.

        None stands for a fresh beginning. Learners that have ended, were not evaluated, or are not `present` keep
        theirs, and so do those that the strategy keeps.
        """
        random = self.random()
        self.generation += 1
        self._generation_at_seconds = self._clock()
        compared = self._compared(present)
        compared |= {name: self.members[name] for name in donors}
        become: dict[str, Networks | None] = {}
        for change in self.strategy.changes(self.members, compared, donors, random, self.random):
            line = self._line(change)
            if change.what == KEPT:
                self._begin_scores(self.members[change.learner])
            else:
                become[change.learner] = change.networks
                self._assign(change)
            self.lineage.append(line(self.members[change.learner].assigned))
        return become

    def returns(self) -> dict[str, float]:
        """Each learner's mean return by its newest measurements, or else its latest return; the best first.

        Networks that were copied count by what the learner was measured that they come from.
        """
        found = {
            name: float(np.mean(m.recent)) if m.recent else m.latest
            for name, m in self.members.items() if m.latest is not None
        }  # fmt: skip
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    def best(self) -> tuple[str, float] | None:
        """The learner that is best with its present networks, and its mean return; else the best with former ones."""
        returns = self.returns()
        present = {name: value for name, value in returns.items() if self.members[name].step >= 0}
        return next(iter((present or returns).items()), None)

    def random(self, name: str | None = None) -> np.random.Generator:
        """The random numbers of the next generation, or those of a learner's next change."""
        if name is None:
            return np.random.default_rng([self.seed, self.generation + 1])
        return np.random.default_rng([self.seed, crc32(name.encode()), self.members[name].assigned + 1])

    def state(self) -> dict[str, Any]:
        """The state without the strategy's arrays and the lineage, ready for JSON."""
        return {
            "strategy": self.strategy.name,
            "seed": self.seed,
            "generation": self.generation,
            "elapsed": self._clock() - self._generation_at_seconds,
            "members": {name: asdict(member) for name, member in self.members.items()},
        }

    def restore(self, state: Mapping[str, Any], arrays: Networks | None, lineage: Iterable[Descent]) -> None:
        """Continues from a saved state; `arrays` are the strategy's, None where they are lost.

        Lines of the lineage that are newer than the state are dropped.
        """
        self.seed, self.generation = state["seed"], state["generation"]
        self._generation_at_seconds = self._clock() - state["elapsed"]
        self.members = {name: Member(**told) for name, told in state["members"].items()}
        known = {name: member.assigned for name, member in self.members.items()}
        self.lineage = [
            line for line in lineage
            if line.generation <= self.generation and line.assigned <= known.get(line.learner, -1)
        ]  # fmt: skip
        self.strategy.restore(arrays or {})

    def _compared(self, present: Collection[str]) -> dict[str, Member]:
        """The learners that a generation compares: those that are present, run and were evaluated."""
        return {name: m for name, m in self.members.items() if name in present and m.scores and not m.ended}

    def _change(self, change: Change) -> Networks | None:
        """Changes one learner between two generations; its networks, or None for a fresh beginning."""
        line = self._line(change)
        self._assign(change)
        self.lineage.append(line(self.members[change.learner].assigned))
        return change.networks

    def _line(self, change: Change) -> Callable[[int], Descent]:
        """The line of the lineage for a change, from the learner's state before it and its number after it."""
        member = self.members[change.learner]
        before = member.mean, len(member.scores), member.step, written(member.numbers)
        return lambda assigned: Descent(self.generation, change.learner, assigned, change.what, change.parents, *before)

    def _assign(self, change: Change) -> None:
        """Counts a change of a learner, whose evaluations begin anew."""
        member = self.members[change.learner]
        self._begin_scores(member)
        member.recent = list(change.recent)
        member.assigned, member.step, member.fresh = member.assigned + 1, -1, change.networks is None

    def _begin_scores(self, member: Member) -> None:
        if member.scores:
            member.latest = member.mean
        member.scores = []
