"""A population of learners that evolves: who wins, what the others become, who descends from whom. NumPy only.

The cross-entropy method on networks: elementwise mean and standard deviation of the best learners' numbers, from which
the others are drawn anew (Rubinstein and Kroese, The Cross-Entropy Method, 2004, algorithm 4.2).
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
LARGEST_STD = 1.0


@dataclass(frozen=True)
class Rules:
    """What `base.evolver_*` says; `seconds` is `evolver_cem_time` in seconds."""

    length: int
    best: float
    min_length: int
    seconds: float
    remove_worst: float
    keep_elites: bool
    min_std: float
    strategy: str  # cem | none


@dataclass
class Member:
    """A learner. What it shall be has a number: `assigned` counts how often that has changed."""

    scores: list[float] = field(default_factory=list)  # of its evaluations as what it is now, the newest last
    step: int = -1  # of the newest evaluation
    latest: float | None = None  # its mean return, whatever the learner has become since
    selected: int = 0  # how often it was among the best since the counts began
    assigned: int = 0
    fresh: bool = False  # what it was assigned last is a new beginning, no networks
    ended: bool = False  # its run is over

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores)) if self.scores else -math.inf


@dataclass(frozen=True)
class Descent:
    """A line of the lineage: what a learner has become in a generation, and of whom."""

    generation: int
    learner: str
    assigned: int
    what: str  # kept | drawn | fresh
    parents: str
    mean_return: float  # of its evaluations before
    evaluations: int
    step: int


def moments(networks: Sequence[Networks], min_std: float) -> tuple[Networks, Networks]:
    """Elementwise mean of networks, and standard deviation between `min_std` and 1."""
    mean, std = {}, {}
    for name, first in networks[0].items():
        stacked = np.stack([one[name] for one in networks]).astype(np.float64)
        mean[name] = np.asarray(stacked.mean(0), first.dtype)
        std[name] = np.asarray(np.clip(stacked.std(0), min_std, max(min_std, LARGEST_STD)), first.dtype)
    return mean, std


def drawn(mean: Networks, std: Networks, rng: np.random.Generator) -> Networks:
    """Networks from independent normal distributions."""
    return {name: np.asarray(rng.normal(m, std[name]), m.dtype) for name, m in mean.items()}


class Evolution:
    """All that is known of a population. `clock` in seconds."""

    def __init__(self, rules: Rules, seed: int, clock: Callable[[], float] = time.monotonic):
        self.rules, self.seed, self._clock = rules, seed, clock
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.lineage: list[Descent] = []
        self.distribution: tuple[Networks, Networks] | None = None  # mean and std of the newest generation
        self._since = clock()

    def join(self, name: str) -> Networks | None:
        """A learner has come; one that comes late is drawn from the newest generation's distribution."""
        if name in self.members:
            self.members[name].ended = False
            return None
        self.members[name] = Member()
        return self._renew(name) if self.distribution is not None else None

    def evaluated(self, name: str, assigned: int, step: int, value: float) -> bool:
        """Takes in a mean return; False where it is known already, or of what the learner is no more."""
        member = self.members[name]
        if assigned != member.assigned or step <= member.step:
            return False
        member.step, member.latest = step, value
        member.scores = [*member.scores, value][-self.rules.length :]
        return True

    def ahead(self, name: str, assigned: int) -> None:
        """The learner is something that this population knows nothing of: its numbers go on from there."""
        member = self.members[name]
        member.assigned, member.scores, member.step, member.fresh = assigned, [], -1, False

    def diverged(self, name: str) -> Networks | None:
        """The learner's numbers are not finite: it is drawn anew, and the others never hear of it.

        Where that does not help, as this is before it could be evaluated, it begins anew with all that belongs to it.
        """
        member = self.members[name]
        return self._renew(name, fresh=member.assigned > 0 and member.step < 0)

    def due(self, present: Collection[str]) -> bool:
        """Whether everyone who is there has been evaluated often enough."""
        counts = [len(member.scores) for name, member in self.members.items() if name in present and not member.ended]
        if len(counts) < 2 or self.rules.strategy == "none":
            return False
        late = self._clock() - self._since >= self.rules.seconds
        return min(counts) >= (self.rules.min_length if late else self.rules.length)

    def elites(self, present: Collection[str]) -> list[str]:
        """The best learners of those who are there, the best first."""
        running = [name for name, m in self.members.items() if name in present and m.scores and not m.ended]
        ranked = sorted(running, key=lambda name: -self.members[name].mean)
        return ranked[: max(1, math.floor(self.rules.best * len(ranked)))]

    def evolve(
        self, elites: Mapping[str, Networks], present: Collection[str] | None = None
    ) -> dict[str, Networks | None]:
        """The next generation from the networks of these: for each learner that changes, what it becomes.

        None is a fresh beginning. Who stays as it is is not named: elites, and whoever has ended, is not `present`
        (None: all are) or was not evaluated, and so was not compared.
        """
        self.generation += 1
        self._since = self._clock()
        self.distribution = moments(list(elites.values()), self.rules.min_std)
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
        """Each learner's mean return as what it is, or else its latest, the best first."""
        found = {name: m.mean if m.scores else m.latest for name, m in self.members.items() if m.latest is not None}
        return dict(sorted(found.items(), key=lambda one: -one[1]))

    def state(self) -> dict[str, Any]:
        """Everything but the distribution and the lineage, ready for JSON."""
        return {
            "seed": self.seed,
            "generation": self.generation,
            "elapsed": self._clock() - self._since,
            "members": {name: asdict(member) for name, member in self.members.items()},
        }

    def restore(
        self, state: Mapping[str, Any], distribution: tuple[Networks, Networks] | None, lineage: Iterable[Descent]
    ) -> None:
        """Goes on from there; a lineage that is longer is cut to what had come to be."""
        self.seed, self.generation = state["seed"], state["generation"]
        self._since = self._clock() - state["elapsed"]
        self.members = {name: Member(**told) for name, told in state["members"].items()}
        known = {name: member.assigned for name, member in self.members.items()}
        self.lineage = [
            line for line in lineage
            if line.generation <= self.generation and line.assigned <= known.get(line.learner, -1)
        ]  # fmt: skip
        self.distribution = distribution

    def _worst(self, losers: Collection[str]) -> str | None:
        """Who of these was selected so much less often than the mean that it begins anew."""
        if self.rules.remove_worst < 0 or not losers:
            return None
        worst = min(sorted(losers), key=lambda name: self.members[name].selected)
        mean = float(np.mean([member.selected for member in self.members.values()]))
        return worst if mean - self.members[worst].selected >= self.rules.remove_worst else None

    def _renew(self, name: str, fresh: bool = False) -> Networks | None:
        """Between two generations."""
        member, fresh = self.members[name], fresh or self.distribution is None
        before = member.mean, len(member.scores), member.step
        become = self._assign(name, fresh)
        what = "fresh" if fresh else "drawn"
        self.lineage.append(Descent(self.generation, name, member.assigned, what, "", *before))
        return become

    def _assign(self, name: str, fresh: bool) -> Networks | None:
        member = self.members[name]
        member.assigned, member.scores, member.step, member.fresh = member.assigned + 1, [], -1, fresh
        if fresh:
            return None
        return drawn(*self.distribution, np.random.default_rng([self.seed, crc32(name.encode()), member.assigned]))
