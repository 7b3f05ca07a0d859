"""The evolution of a population of learners: selects the best, draws the others anew, records descent. NumPy only.

This is the cross-entropy method on networks: the others are drawn from normal distributions with the elementwise mean
and standard deviation of the best learners' weights (Rubinstein and Kroese, The Cross-Entropy Method, 2004, algorithm
4.2).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

Networks = Mapping[str, np.ndarray]
MAX_STD = 1.0  # smallest standard deviation of a drawn weight


@dataclass(frozen=True)
class CemRules:
    """When generations are made, and how."""

    length: int  # evaluations of each learner that make a generation due
    best: float  # fraction of the learners that are selected
    min_length: int  # evaluations of each learner that make a generation due once `seconds` have passed
    seconds: float  # time since the last generation, for `min_length`
    remove_worst: float  # a learner begins anew when it was selected this much below the mean; below 0: never
    keep_elites: bool  # the selected learners keep their networks
    min_std: float  # smallest standard deviation of a drawn weight
    strategy: str  # cem | none


@dataclass
class Member:
    """A learner. The changes of its networks are numbered 1, 2, ...; `assigned` is the latest number."""

    scores: list[float] = field(default_factory=list)  # mean returns of its present networks, the newest last
    step: int = -1  # of the newest evaluation
    latest: float | None = None  # newest mean return, also of former networks
    selected: int = 0  # how often it was selected since the counts were reset
    assigned: int = 0
    fresh: bool = False  # the latest change is a fresh beginning, without networks from here
    ended: bool = False  # its run is over

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else -math.inf


@dataclass(frozen=True)
class Descent:
    """A line of the lineage: how a generation has changed a learner, and from whose networks."""

    generation: int
    learner: str
    assigned: int
    what: str  # kept | drawn | fresh
    parents: str
    mean_return: float  # of its evaluations before the change
    evaluations: int
    step: int


def mean_and_std(networks: Sequence[Networks], min_std: float) -> tuple[Networks, Networks]:
    """Elementwise mean and standard deviation of networks; the latter is clipped to [min_std, MAX_STD]."""
    mean, std = {}, {}
    for name, first in networks[0].items():
        stacked = np.stack([one[name] for one in networks]).astype(np.float64)
        mean[name] = np.asarray(stacked.mean(0), first.dtype)
        std[name] = np.asarray(np.clip(stacked.std(0), min_std, max(min_std, MAX_STD)), first.dtype)
    return mean, std


def draw(mean: Networks, std: Networks, rng: np.random.Generator) -> Networks:
    """Draws each weight from its own normal distribution."""
    return {name: np.asarray(rng.normal(m, std[name]), m.dtype) for name, m in mean.items()}


class Evolution:
    """The state of a population and its decisions. `clock` returns seconds."""

    def __init__(self, rules: CemRules, seed: int, clock: Callable[[], float] = time.monotonic):
        self.rules, self.seed, self._clock = rules, seed, clock
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.lineage: list[Descent] = []
        self.distribution: tuple[Networks, Networks] | None = None  # mean and std of the newest generation
        self._generation_at_seconds = clock()

    def join(self, name: str) -> Networks | None:
        """A learner has connected. Returns networks for a new learner once a generation exists."""
        if name in self.members:
            self.members[name].ended = False
            return None
        self.members[name] = Member()
        return self._change(name) if self.distribution is not None else None

    def evaluated(self, name: str, assigned: int, step: int, value: float) -> bool:
        """Takes in a mean return; returns False when it is known already, or belongs to former networks."""
        member = self.members[name]
        if assigned != member.assigned or step <= member.step:
            return False
        member.step, member.latest = step, value
        member.scores = [*member.scores, value][-self.rules.length :]
        return True

    def set_number(self, name: str, assigned: int) -> None:
        """Accepts the learner's own networks and number, which this population did not assign."""
        member = self.members[name]
        member.assigned, member.scores, member.step, member.fresh = assigned, [], -1, False

    def diverged(self, name: str) -> Networks | None:
        """The learner's weights are not finite: returns networks that are drawn anew.

        Returns None when the learner shall begin anew: before the first generation, and when it diverged before any
        evaluation of the networks that it was given.
        """
        member = self.members[name]
        return self._change(name, fresh=member.assigned > 0 and member.step < 0)

    def due(self, present: Collection[str]) -> bool:
        """Whether the connected learners have been evaluated often enough for a generation."""
        counts = [len(member.scores) for name, member in self.members.items() if name in present and not member.ended]
        if len(counts) < 2 or self.rules.strategy == "none":
            return False
        late = self._clock() - self._generation_at_seconds >= self.rules.seconds
        return min(counts) >= (self.rules.min_length if late else self.rules.length)

    def elites(self, present: Collection[str]) -> list[str]:
        """The best of the connected learners, the best first."""
        running = [name for name, m in self.members.items() if name in present and m.scores and not m.ended]
        ranked = sorted(running, key=lambda name: -self.members[name].mean)
        return ranked[: max(1, math.floor(self.rules.best * len(ranked)))]

    def evolve(
        self, elites: Mapping[str, Networks], present: Collection[str] | None = None
    ) -> dict[str, Networks | None]:
        """Makes a generation from the networks of the elites; returns the networks of each learner that changes.

        None stands for a fresh beginning. Elites keep their networks if the rules say so. Learners that have ended,
        were not evaluated, or are not `present` (None: all are) keep theirs too.
        """
        self.generation += 1
        self._generation_at_seconds = self._clock()
        self.distribution = mean_and_std(list(elites.values()), self.rules.min_std)
        for name in elites:
            self.members[name].selected += 1
        there = self.members if present is None else present
        compared = {name: m for name, m in self.members.items() if m.scores and not m.ended and name in there}
        worst = self._worst(compared.keys() - elites.keys())
        become: dict[str, Networks | None] = {}
        for name, member in self.members.items():
            if name not in elites and name not in compared:
                continue
            before = member.mean, len(member.scores), member.step
            what = "fresh" if name == worst else "kept" if self.rules.keep_elites and name in elites else "drawn"
            if what == "kept":
                member.scores = []
            else:
                become[name] = self._assign(name, fresh=name == worst)
            parents = {"kept": name, "fresh": "", "drawn": " ".join(elites)}[what]
            self.lineage.append(Descent(self.generation, name, member.assigned, what, parents, *before))
        if worst is not None:
            for name, member in self.members.items():
                member.selected = int(name in elites)
        return become

    def returns(self) -> dict[str, float]:
        """Each learner's mean return with its present networks, or else its latest return; the best first."""
        found = {name: m.mean if m.scores else m.latest for name, m in self.members.items() if m.latest is not None}
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    def state(self) -> dict[str, Any]:
        """The state without the distribution and the lineage, ready for JSON."""
        return {
            "seed": self.seed,
            "generation": self.generation,
            "elapsed": self._clock() - self._generation_at_seconds,
            "members": {name: asdict(member) for name, member in self.members.items()},
        }

    def restore(
        self, state: Mapping[str, Any], distribution: tuple[Networks, Networks] | None, lineage: Iterable[Descent]
    ) -> None:
        """Continues from a saved state. Lines of the lineage that are newer than the state are dropped."""
        self.seed, self.generation = state["seed"], state["generation"]
        self._generation_at_seconds = self._clock() - state["elapsed"]
        self.members = {name: Member(**told) for name, told in state["members"].items()}
        known = {name: member.assigned for name, member in self.members.items()}
        self.lineage = [
            line for line in lineage
            if line.generation <= self.generation and line.assigned <= known.get(line.learner, -1)
        ]  # fmt: skip
        self.distribution = distribution

    def _worst(self, losers: Collection[str]) -> str | None:
        """The learner of these that was selected so rarely that it begins anew; None if there is none."""
        if self.rules.remove_worst < 0 or not losers:
            return None
        worst = min(sorted(losers), key=lambda name: self.members[name].selected)
        mean = float(np.mean([member.selected for member in self.members.values()]))
        return worst if mean - self.members[worst].selected >= self.rules.remove_worst else None

    def _change(self, name: str, fresh: bool = False) -> Networks | None:
        """Changes one learner between two generations."""
        member, fresh = self.members[name], fresh or self.distribution is None
        before = member.mean, len(member.scores), member.step
        become = self._assign(name, fresh)
        what = "fresh" if fresh else "drawn"
        self.lineage.append(Descent(self.generation, name, member.assigned, what, "", *before))
        return become

    def _assign(self, name: str, fresh: bool) -> Networks | None:
        """Counts a change of a learner; returns its networks, which the seed, its name and the number determine."""
        member = self.members[name]
        member.assigned, member.scores, member.step, member.fresh = member.assigned + 1, [], -1, fresh
        if fresh:
            return None
        assert self.distribution is not None
        return draw(*self.distribution, np.random.default_rng([self.seed, crc32(name.encode()), member.assigned]))
